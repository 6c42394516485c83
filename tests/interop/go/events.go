package main

import (
	"encoding/json"
	"os"
	"sort"
	"sync"
	"time"
)

type line map[string]any

var output sync.Mutex

// emit writes one JSON line; os.Stdout is unbuffered, so the line is out when this returns.
func emit(l line) {
	encoded, err := json.Marshal(l)
	if err != nil {
		panic(err)
	}
	output.Lock()
	defer output.Unlock()
	os.Stdout.Write(append(encoded, '\n'))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// summary gathers one second's messages for --report summary.
type summary struct {
	lock             sync.Mutex
	latencies        []time.Duration
	received, bytes  uint64
	published, drops uint64
}

func (s *summary) add(size int, latency time.Duration) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.received++
	s.bytes += uint64(size)
	s.latencies = append(s.latencies, latency)
}

func (s *summary) countPublished() {
	s.lock.Lock()
	s.published++
	s.lock.Unlock()
}

func (s *summary) countDrop() {
	s.lock.Lock()
	s.drops++
	s.lock.Unlock()
}

// emit tells totals since the start and the latencies since the last call.
func (s *summary) emit() {
	s.lock.Lock()
	latencies := s.latencies
	s.latencies = nil
	told := line{"event": "summary", "received": s.received, "bytes": s.bytes, "published": s.published, "dropped": s.drops}
	s.lock.Unlock()
	sort.Slice(latencies, func(i, j int) bool { return latencies[i] < latencies[j] })
	if n := len(latencies); n > 0 {
		at := func(share float64) float64 { return milliseconds(latencies[int(share*float64(n-1))]) }
		told["latency_ms"] = line{"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1)}
	}
	emit(told)
}
