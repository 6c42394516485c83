package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sort"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const largestMessage = 16 << 20

// Longer than the library's 32: this peer counts what arrived, and loses nothing between library and count.
const queueLength = 1 << 16

func startGossip(ctx context.Context, h host.Host, o options, start <-chan struct{}) error {
	m := &meshes{members: map[string]map[peer.ID]struct{}{}, totals: &summary{}}
	router, err := pubsub.NewGossipSub(ctx, h, gossipOptions(o, m)...)
	if err != nil {
		return err
	}
	p := newPayloads(h.ID(), o.size, o.id == "lean" || o.id == "zig")
	for _, name := range o.topics {
		topic, err := router.Join(name)
		if err != nil {
			return err
		}
		m.open(name)
		if err := watchSubscribers(ctx, topic); err != nil {
			return err
		}
		if !o.publishOnly {
			subscription, err := topic.Subscribe(pubsub.WithBufferSize(queueLength))
			if err != nil {
				return err
			}
			go receive(ctx, h.ID(), subscription, o, m.totals, p.snappy)
		}
		if o.publishes {
			go publish(ctx, topic, newPayloads(h.ID(), o.size, p.snappy), o, m.totals, start)
		}
	}
	go m.tell(ctx, o.report == "summary")
	return nil
}

func gossipOptions(o options, tracer pubsub.RawTracer) []pubsub.Option {
	chosen := []pubsub.Option{
		pubsub.WithRawTracer(tracer),
		pubsub.WithMaxMessageSize(largestMessage),
		pubsub.WithValidateQueueSize(queueLength),
		pubsub.WithPeerOutboundQueueSize(queueLength),
	}
	if o.signing == "none" {
		chosen = append(chosen, pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), pubsub.WithNoAuthor())
	}
	switch {
	case o.id == "lean":
		chosen = append(chosen, pubsub.WithMessageIdFn(leanID))
	case o.id == "zig":
		chosen = append(chosen, pubsub.WithMessageIdFn(zigID))
	case o.id == "sha256" || o.signing == "none":
		// Without author and sequence number the library's own id is empty for every message.
		chosen = append(chosen, pubsub.WithMessageIdFn(sha256ID))
	}
	if o.timing == "lean" {
		params := pubsub.DefaultGossipSubParams()
		params.D, params.Dlo, params.Dhi, params.Dlazy = 8, 6, 12, 6
		params.HeartbeatInterval = 700 * time.Millisecond
		params.HistoryLength, params.HistoryGossip = 6, 3
		chosen = append(chosen, pubsub.WithGossipSubParams(params), pubsub.WithSeenMessagesTTL(24*time.Second))
	}
	return chosen
}

func watchSubscribers(ctx context.Context, topic *pubsub.Topic) error {
	handler, err := topic.EventHandler()
	if err != nil {
		return err
	}
	go func() {
		for {
			happened, err := handler.NextPeerEvent(ctx)
			if err != nil {
				return
			}
			name := "subscribed"
			if happened.Type == pubsub.PeerLeave {
				name = "unsubscribed"
			}
			emit(line{"event": name, "topic": topic.String(), "peer": happened.Peer.String()})
		}
	}()
	return nil
}

func receive(ctx context.Context, self peer.ID, from *pubsub.Subscription, o options, totals *summary, isSnappy bool) {
	for {
		message, err := from.Next(ctx)
		if err != nil {
			return
		}
		if message.ReceivedFrom == self {
			continue
		}
		latency, _ := latencyOf(message.Data, isSnappy)
		totals.add(len(message.Data), latency)
		if o.report == "summary" {
			continue
		}
		told := line{"event": "message", "topic": message.GetTopic(), "id": hex.EncodeToString([]byte(message.ID)),
			"size": len(message.Data), "sha256": hexDigest(message.Data), "peer": message.ReceivedFrom.String(),
			"from": nil, "latency_ms": milliseconds(latency)}
		if author := message.GetFrom(); author != "" {
			told["from"] = author.String()
		}
		emit(told)
	}
}

func publish(ctx context.Context, topic *pubsub.Topic, p *payloads, o options, totals *summary, start <-chan struct{}) {
	select {
	case <-start:
	case <-ctx.Done():
		return
	}
	began := time.Now()
	for sent := 0; (o.count == 0 || sent < o.count) && ctx.Err() == nil; sent++ {
		if o.publishRate > 0 {
			due := began.Add(time.Duration(float64(sent) / o.publishRate * float64(time.Second)))
			select {
			case <-time.After(time.Until(due)):
			case <-ctx.Done():
				return
			}
		}
		data, sequence := p.next()
		if err := topic.Publish(ctx, data); err != nil {
			if !errors.Is(err, context.Canceled) {
				emit(line{"event": "error", "step": "publish", "topic": topic.String(), "reason": err.Error()})
			}
			return
		}
		totals.countPublished()
		if o.report == "messages" {
			emit(line{"event": "published", "topic": topic.String(), "sequence": sequence, "size": len(data),
				"sha256": hexDigest(data)})
		}
	}
	emit(line{"event": "published_all", "topic": topic.String(), "count": p.sequence, "seconds": time.Since(began).Seconds()})
}

func hexDigest(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

// meshes follows the router's trace, the one place where go-libp2p-pubsub tells its mesh.
type meshes struct {
	lock    sync.Mutex
	members map[string]map[peer.ID]struct{}
	totals  *summary
}

func (m *meshes) open(topic string) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if m.members[topic] == nil {
		m.members[topic] = map[peer.ID]struct{}{}
	}
}

// tell reports every mesh, and in summaries the totals, once a second.
func (m *meshes) tell(ctx context.Context, withSummary bool) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		m.lock.Lock()
		var lines []line
		for topic, members := range m.members {
			names := make([]string, 0, len(members))
			for member := range members {
				names = append(names, member.String())
			}
			sort.Strings(names)
			lines = append(lines, line{"event": "mesh", "topic": topic, "peers": names})
		}
		m.lock.Unlock()
		for _, l := range lines {
			emit(l)
		}
		if withSummary {
			m.totals.emit()
		}
	}
}

func (m *meshes) Graft(p peer.ID, topic string) {
	m.lock.Lock()
	if m.members[topic] == nil {
		m.members[topic] = map[peer.ID]struct{}{}
	}
	m.members[topic][p] = struct{}{}
	m.lock.Unlock()
	emit(line{"event": "graft", "topic": topic, "peer": p.String()})
}

func (m *meshes) Prune(p peer.ID, topic string) {
	m.lock.Lock()
	delete(m.members[topic], p)
	m.lock.Unlock()
	emit(line{"event": "prune", "topic": topic, "peer": p.String()})
}

// OnClosedOutboundStream takes a lost peer out of every mesh: the router does so without a PRUNE in its trace.
func (m *meshes) OnClosedOutboundStream(p peer.ID) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for topic, members := range m.members {
		if _, isMember := members[p]; isMember {
			delete(members, p)
			emit(line{"event": "prune", "topic": topic, "peer": p.String()})
		}
	}
}

func (m *meshes) DropRPC(*pubsub.RPC, peer.ID)         { m.totals.countDrop() }
func (m *meshes) UndeliverableMessage(*pubsub.Message) { m.totals.countDrop() }

func (m *meshes) OnNewOutboundStream(peer.ID, protocol.ID) {}
func (m *meshes) Join(string)                              {}
func (m *meshes) Leave(string)                             {}
func (m *meshes) ValidateMessage(*pubsub.Message)          {}
func (m *meshes) DeliverMessage(*pubsub.Message)           {}
func (m *meshes) RejectMessage(*pubsub.Message, string)    {}
func (m *meshes) DuplicateMessage(*pubsub.Message)         {}
func (m *meshes) ThrottlePeer(peer.ID)                     {}
func (m *meshes) RecvRPC(*pubsub.RPC)                      {}
func (m *meshes) SendRPC(*pubsub.RPC, peer.ID)             {}
