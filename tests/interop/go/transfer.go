package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	sinkProtocol   = protocol.ID("/leanmesh/test/sink/1")
	sourceProtocol = protocol.ID("/leanmesh/test/source/1")
	// Prime, so that no chunk of a power of two bytes repeats the one before it.
	patternPeriod = 251
	chunkBytes    = 64 << 10
)

// pattern is byte i % 251 for i from 0, without end.
type pattern struct{ chunk []byte }

func newPattern() pattern {
	chunk := make([]byte, patternPeriod*((chunkBytes+patternPeriod)/patternPeriod+1))
	for i := range chunk {
		chunk[i] = byte(i % patternPeriod)
	}
	return pattern{chunk}
}

// writeTo sends the first count bytes of the pattern and returns their digest.
func (p pattern) writeTo(stream io.Writer, count int64) (hash.Hash, error) {
	digest := sha256.New()
	for sent := int64(0); sent < count; {
		phase := sent % patternPeriod
		part := p.chunk[phase : phase+min(chunkBytes, count-sent)]
		digest.Write(part)
		if _, err := stream.Write(part); err != nil {
			return digest, fmt.Errorf("after %d of %d bytes: %w", sent, count, err)
		}
		sent += int64(len(part))
	}
	return digest, nil
}

// serveTransfers answers the test protocols for as long as the host lives.
func serveTransfers(h host.Host) {
	h.SetStreamHandler(sinkProtocol, func(stream network.Stream) { finish(stream, "sink", sink) })
	h.SetStreamHandler(sourceProtocol, func(stream network.Stream) { finish(stream, "source", source) })
}

func finish(stream network.Stream, direction string, serve func(network.Stream) (int64, hash.Hash, error)) {
	began := time.Now()
	stream.SetDeadline(began.Add(transferTimeout))
	count, digest, err := serve(stream)
	if err == nil {
		err = stream.Close()
	}
	report(stream, direction, began, count, digest, err, nil)
}

func sink(stream network.Stream) (int64, hash.Hash, error) {
	digest := sha256.New()
	count, err := io.Copy(digest, stream)
	if err == nil {
		_, err = fmt.Fprintf(stream, "%x %d\n", digest.Sum(nil), count)
	}
	return count, digest, err
}

func source(stream network.Stream) (int64, hash.Hash, error) {
	var length [8]byte
	if _, err := io.ReadFull(stream, length[:]); err != nil {
		return 0, sha256.New(), err
	}
	count := int64(binary.BigEndian.Uint64(length[:]))
	digest, err := newPattern().writeTo(stream, count)
	return count, digest, err
}

func upload(ctx context.Context, h host.Host, to peer.ID, count int64) {
	exchange(ctx, h, to, sinkProtocol, "upload", func(stream network.Stream) (int64, hash.Hash, line, error) {
		digest, err := newPattern().writeTo(stream, count)
		if err == nil {
			err = stream.CloseWrite()
		}
		if err != nil {
			return count, digest, nil, err
		}
		var remoteDigest string
		var remoteCount int64
		if _, err := fmt.Fscan(bufio.NewReader(stream), &remoteDigest, &remoteCount); err != nil {
			return count, digest, nil, fmt.Errorf("answer of the sink: %w", err)
		}
		return count, digest, line{"remote_sha256": remoteDigest, "remote_bytes": remoteCount}, nil
	})
}

func download(ctx context.Context, h host.Host, from peer.ID, count int64) {
	exchange(ctx, h, from, sourceProtocol, "download", func(stream network.Stream) (int64, hash.Hash, line, error) {
		digest := sha256.New()
		_, err := stream.Write(binary.BigEndian.AppendUint64(nil, uint64(count)))
		if err == nil {
			err = stream.CloseWrite()
		}
		if err != nil {
			return 0, digest, nil, err
		}
		got, err := io.Copy(digest, stream)
		return got, digest, nil, err
	})
}

func exchange(ctx context.Context, h host.Host, with peer.ID, name protocol.ID, direction string,
	talk func(network.Stream) (int64, hash.Hash, line, error)) {
	opening, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	began := time.Now()
	stream, err := h.NewStream(opening, with, name)
	if err != nil {
		emit(line{"event": "error", "step": direction, "peer": with.String(), "reason": err.Error()})
		return
	}
	stream.SetDeadline(began.Add(transferTimeout))
	count, digest, more, err := talk(stream)
	report(stream, direction, began, count, digest, err, more)
	stream.Close()
}

func report(stream network.Stream, direction string, began time.Time, count int64, digest hash.Hash, err error, more line) {
	told := line{"event": "transfer", "direction": direction, "peer": stream.Conn().RemotePeer().String(), "bytes": count,
		"sha256": hex.EncodeToString(digest.Sum(nil)), "seconds": time.Since(began).Seconds()}
	for name, value := range more {
		told[name] = value
	}
	if err != nil {
		stream.Reset()
		told = line{"event": "error", "step": direction, "peer": stream.Conn().RemotePeer().String(), "reason": err.Error()}
	}
	emit(told)
}
