// JSON lines on standard output, and what is gathered for --report summary.

export function emit (event, fields = {}) {
  // Written in one go and at once: standard output is a pipe, which Node writes synchronously on Linux.
  process.stdout.write(JSON.stringify({ event, ...fields }) + '\n')
}

export class Summary {
  received = 0
  bytes = 0
  published = 0
  latencies = []

  add (size, latencyMs) {
    this.received++
    this.bytes += size
    this.latencies.push(latencyMs)
  }

  // Totals since the start, latencies since the last call. The library tells of no message it dropped.
  emit () {
    const sorted = Float64Array.from(this.latencies).sort()
    this.latencies = []
    const at = (share) => sorted[Math.floor(share * (sorted.length - 1))]
    emit('summary', {
      received: this.received,
      bytes: this.bytes,
      published: this.published,
      dropped: null,
      ...(sorted.length > 0 ? { latency_ms: { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) } } : {})
    })
  }
}
