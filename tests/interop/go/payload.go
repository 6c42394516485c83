package main

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/klauspost/compress/snappy"
)

// A payload opens with the sender (8 bytes of the SHA-256 of its peer id), a sequence number and the
// time of sending in nanoseconds, both 8 bytes big-endian; what follows cannot be compressed.
const headerBytes = 24

const largestDecompressed = 10 << 20

type payloads struct {
	sender   [8]byte
	filler   []byte
	sequence uint64
	snappy   bool
}

func newPayloads(self peer.ID, size int, isSnappy bool) *payloads {
	p := &payloads{snappy: isSnappy}
	digest := sha256.Sum256([]byte(self))
	copy(p.sender[:], digest[:8])
	for block := uint64(0); len(p.filler) < size; block++ {
		digest := sha256.Sum256(binary.BigEndian.AppendUint64(nil, block))
		p.filler = append(p.filler, digest[:]...)
	}
	p.filler = p.filler[:size]
	return p
}

func (p *payloads) next() (data []byte, sequence uint64) {
	data = append([]byte(nil), p.filler...)
	sequence = p.sequence
	p.sequence++
	copy(data, p.sender[:])
	binary.BigEndian.PutUint64(data[8:], sequence)
	binary.BigEndian.PutUint64(data[16:], uint64(time.Now().UnixNano()))
	if p.snappy {
		data = snappy.Encode(nil, data)
	}
	return data, sequence
}

// latencyOf is the time since a payload was made; false when this is none of ours.
func latencyOf(data []byte, isSnappy bool) (time.Duration, bool) {
	if isSnappy {
		content, ok := decompressed(data)
		if !ok {
			return 0, false
		}
		data = content
	}
	if len(data) < headerBytes {
		return 0, false
	}
	return time.Duration(time.Now().UnixNano() - int64(binary.BigEndian.Uint64(data[16:]))), true
}

func decompressed(data []byte) ([]byte, bool) {
	if size, err := snappy.DecodedLen(data); err != nil || size > largestDecompressed {
		return nil, false
	}
	content, err := snappy.Decode(nil, data)
	return content, err == nil
}

func sha256ID(message *pb.Message) string {
	digest := sha256.Sum256(message.GetData())
	return string(digest[:])
}

func leanID(message *pb.Message) string {
	domain, data := []byte{0, 0, 0, 0}, message.GetData()
	if content, ok := decompressed(data); ok {
		domain, data = []byte{1, 0, 0, 0}, content
	}
	return topicID(domain, binary.LittleEndian.AppendUint64(nil, uint64(len(message.GetTopic()))), message.GetTopic(), data)
}

// zigID is zig-libp2p's way: a 32-bit big-endian length, and the bytes as they travelled.
func zigID(message *pb.Message) string {
	length := binary.BigEndian.AppendUint32(nil, uint32(len(message.GetTopic())))
	return topicID([]byte{1, 0, 0, 0}, length, message.GetTopic(), message.GetData())
}

func topicID(domain, length []byte, topic string, data []byte) string {
	hash := sha256.New()
	hash.Write(domain)
	hash.Write(length)
	hash.Write([]byte(topic))
	hash.Write(data)
	return string(hash.Sum(nil)[:20])
}
