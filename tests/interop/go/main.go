// Package main is a gossipsub peer on go-libp2p, driven by its command line and told of by JSON lines.
//
// The command line and the lines are those of tests/interop/README.md, the same for every language.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

const stepTimeout = 10 * time.Second

// Longer than stepTimeout: 64 MiB through a slow peer on a busy machine.
const transferTimeout = 5 * time.Minute

type repeated []string

func (r *repeated) String() string { return strings.Join(*r, ",") }

func (r *repeated) Set(value string) error {
	*r = append(*r, value)
	return nil
}

type options struct {
	listen, peers, topics                           repeated
	publishRate                                     float64
	size, count                                     int
	signing, id, timing, transport, keyType, report string
	hold, subscribeOnly, publishOnly, ping, echo    bool
	uploadBytes, downloadBytes                      int64
	publishes                                       bool
}

func parse() options {
	var o options
	flag.Var(&o.listen, "listen", "multiaddr to listen on; may be repeated")
	flag.Var(&o.peers, "peer", "multiaddr with /p2p/ to dial; may be repeated")
	flag.Var(&o.topics, "topic", "topic to take; may be repeated")
	flag.Float64Var(&o.publishRate, "publish-rate", 0, "messages per second and topic; 0: as fast as it goes")
	flag.IntVar(&o.size, "size", 1024, "bytes of a message before compression")
	flag.IntVar(&o.count, "count", 0, "messages per topic; 0: without end")
	flag.StringVar(&o.signing, "signing", "strict", "strict or none")
	flag.StringVar(&o.id, "id", "default", "default, library, sha256, lean or zig")
	flag.StringVar(&o.timing, "timing", "libp2p", "libp2p or lean")
	flag.StringVar(&o.transport, "transport", "tcp", "tcp or quic")
	flag.StringVar(&o.keyType, "key-type", "ed25519", "ed25519 or secp256k1")
	flag.StringVar(&o.report, "report", "messages", "messages: a line for each; summary: one line a second")
	flag.BoolVar(&o.hold, "hold", false, "publish only when standard input says so")
	flag.BoolVar(&o.subscribeOnly, "subscribe-only", false, "never publish")
	flag.BoolVar(&o.publishOnly, "publish-only", false, "publish without subscribing")
	flag.BoolVar(&o.ping, "ping", false, "ping each peer dialed")
	flag.BoolVar(&o.echo, "echo", false, "serve the test protocols sink and source")
	flag.Int64Var(&o.uploadBytes, "upload", 0, "bytes to send to each peer dialed")
	flag.Int64Var(&o.downloadBytes, "download", 0, "bytes to fetch from each peer dialed")
	flag.Parse()
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "publish-rate" || f.Name == "count" {
			o.publishes = !o.subscribeOnly
		}
	})
	mustBeOneOf("signing", o.signing, "strict", "none")
	mustBeOneOf("id", o.id, "default", "library", "sha256", "lean", "zig")
	mustBeOneOf("timing", o.timing, "libp2p", "lean")
	mustBeOneOf("transport", o.transport, "tcp", "quic")
	mustBeOneOf("key-type", o.keyType, "ed25519", "secp256k1")
	mustBeOneOf("report", o.report, "messages", "summary")
	if o.size < headerBytes {
		refuse("--size must be at least %d, the header of a payload", headerBytes)
	}
	if len(o.listen) == 0 {
		o.listen = repeated{"/ip4/127.0.0.1/tcp/0"}
		if o.transport == "quic" {
			o.listen = repeated{"/ip4/127.0.0.1/udp/0/quic-v1"}
		}
	}
	return o
}

func mustBeOneOf(name, value string, legal ...string) {
	for _, word := range legal {
		if value == word {
			return
		}
	}
	refuse("--%s is one of %s, not %q", name, strings.Join(legal, ", "), value)
}

func refuse(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(2)
}

func newHost(o options) (host.Host, error) {
	kind := crypto.Ed25519
	if o.keyType == "secp256k1" {
		kind = crypto.Secp256k1
	}
	key, _, err := crypto.GenerateKeyPair(kind, 0)
	if err != nil {
		return nil, err
	}
	transport := []libp2p.Option{
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
	}
	if o.transport == "quic" {
		transport = []libp2p.Option{libp2p.Transport(quic.NewTransport)}
	}
	return libp2p.New(append(transport,
		libp2p.Identity(key),
		libp2p.UserAgent("go-libp2p/"+strings.TrimPrefix(versionOf("github.com/libp2p/go-libp2p"), "v")),
		libp2p.ListenAddrStrings(o.listen...),
		libp2p.DisableRelay(),
		// A measuring instrument sets no limits of its own: what is counted belongs to the other side.
		libp2p.ResourceManager(&network.NullResourceManager{}),
	)...)
}

func main() {
	o := parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	h, err := newHost(o)
	if err != nil {
		refuse("cannot start: %v", err)
	}
	defer h.Close()
	if err := watchConnections(ctx, h); err != nil {
		refuse("cannot watch connections: %v", err)
	}
	if o.echo {
		serveTransfers(h)
	}
	start := make(chan struct{})
	if !o.hold {
		close(start)
	}
	if err := startGossip(ctx, h, o, start); err != nil {
		refuse("cannot start gossipsub: %v", err)
	}
	emit(line{"event": "listening", "peer_id": h.ID().String(), "addresses": fullAddresses(h),
		"implementation": versions()})

	go obey(ctx, stop, h, o, start)
	for _, address := range o.peers {
		go reach(ctx, h, o, address)
	}
	<-ctx.Done()
}

// obey follows the commands on standard input; its end, which a dead parent causes too, ends the peer.
func obey(ctx context.Context, stop func(), h host.Host, o options, start chan struct{}) {
	started := !o.hold
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 1 && words[0] == "publish":
			if !started {
				started = true
				close(start)
			}
		case len(words) == 2 && words[0] == "dial":
			go reach(ctx, h, o, words[1])
		default:
			emit(line{"event": "error", "step": "command", "reason": "unknown: " + lines.Text()})
		}
	}
	stop()
}

// reach dials one peer and does with it what the options ask for.
func reach(ctx context.Context, h host.Host, o options, address string) {
	info, err := peer.AddrInfoFromString(address)
	if err == nil {
		dialing, cancel := context.WithTimeout(ctx, stepTimeout)
		defer cancel()
		err = h.Connect(dialing, *info)
	}
	if err != nil {
		emit(line{"event": "error", "step": "dial", "address": address, "reason": err.Error()})
		return
	}
	if o.ping {
		pinging, cancel := context.WithTimeout(ctx, stepTimeout)
		result := <-ping.Ping(pinging, h, info.ID)
		cancel()
		if result.Error != nil {
			emit(line{"event": "error", "step": "ping", "peer": info.ID.String(), "reason": result.Error.Error()})
		} else {
			emit(line{"event": "ping", "peer": info.ID.String(), "rtt_ms": milliseconds(result.RTT)})
		}
	}
	if o.uploadBytes > 0 {
		upload(ctx, h, info.ID, o.uploadBytes)
	}
	if o.downloadBytes > 0 {
		download(ctx, h, info.ID, o.downloadBytes)
	}
}

// watchConnections reports a connection once identify has told who is there.
func watchConnections(ctx context.Context, h host.Host) error {
	identified, err := h.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted),
		new(event.EvtPeerIdentificationFailed),
		new(event.EvtPeerConnectednessChanged),
	})
	if err != nil {
		return err
	}
	go func() {
		defer identified.Close()
		told := map[string]bool{}
		for {
			select {
			case <-ctx.Done():
				return
			case happened := <-identified.Out():
				reportConnection(happened, told)
			}
		}
	}()
	return nil
}

// reportConnection tells of each connection once: an identify push completes identification again.
func reportConnection(happened any, told map[string]bool) {
	switch e := happened.(type) {
	case event.EvtPeerIdentificationCompleted:
		if told[e.Conn.ID()] {
			return
		}
		told[e.Conn.ID()] = true
		emit(line{"event": "connected", "peer": e.Peer.String(), "agent": e.AgentVersion, "protocols": e.Protocols,
			"direction": strings.ToLower(e.Conn.Stat().Direction.String()), "address": e.Conn.RemoteMultiaddr().String()})
	case event.EvtPeerIdentificationFailed:
		emit(line{"event": "error", "step": "identify", "peer": e.Peer.String(), "reason": e.Reason.Error()})
	case event.EvtPeerConnectednessChanged:
		if e.Connectedness == network.NotConnected {
			emit(line{"event": "disconnected", "peer": e.Peer.String()})
		}
	}
}

func fullAddresses(h host.Host) []string {
	var addresses []string
	for _, address := range h.Addrs() {
		addresses = append(addresses, address.String()+"/p2p/"+h.ID().String())
	}
	return addresses
}

func versions() string {
	return "go-libp2p " + versionOf("github.com/libp2p/go-libp2p") +
		", go-libp2p-pubsub " + versionOf("github.com/libp2p/go-libp2p-pubsub")
}

func versionOf(module string) string {
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range build.Deps {
			if dependency.Path == module {
				return dependency.Version
			}
		}
	}
	return "unknown"
}
