// What is published, and the message ids it gets; the layout stands in tests/interop/README.md.

import { createHash } from 'node:crypto'
import snappy from 'snappyjs'

const HEADER_BYTES = 24
const LARGEST_DECOMPRESSED = 10 << 20

export const hexDigest = (data) => createHash('sha256').update(data).digest('hex')
const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()
const nowNs = () => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6))

export class Payloads {
  sequence = 0n

  constructor (peerId, size, isSnappy) {
    if (size < HEADER_BYTES) {
      throw new Error(`--size must be at least ${HEADER_BYTES}, the header of a payload`)
    }
    this.isSnappy = isSnappy
    this.filler = Buffer.alloc(size)
    for (let block = 0; block * 32 < size; block++) {
      const counter = Buffer.alloc(8)
      counter.writeBigUInt64BE(BigInt(block))
      sha256(counter).copy(this.filler, block * 32)
    }
    sha256(peerId.toMultihash().bytes).copy(this.filler, 0, 0, 8)
  }

  next () {
    const data = Buffer.from(this.filler)
    data.writeBigUInt64BE(this.sequence++, 8)
    data.writeBigUInt64BE(nowNs(), 16)
    return this.isSnappy ? snappy.compress(data) : data
  }
}

// Milliseconds since a payload was made; null when it is none of ours.
export function latencyMs (data, isSnappy) {
  const content = isSnappy ? decompressed(data) : data
  if (content == null || content.length < HEADER_BYTES) {
    return null
  }
  const madeNs = new DataView(content.buffer, content.byteOffset).getBigUint64(16)
  return Number(nowNs() - madeNs) / 1e6
}

function decompressed (data) {
  try {
    return snappy.uncompress(data, LARGEST_DECOMPRESSED)
  } catch {
    return null
  }
}

const domain = (isValid) => Buffer.from([isValid ? 1 : 0, 0, 0, 0])

export const messageIds = {
  // The field's author + sequence number; js-libp2p's own takes the author's key without its multihash prefix.
  default: (message) => {
    const sequence = Buffer.alloc(8)
    sequence.writeBigUInt64BE(message.sequenceNumber)
    return Buffer.concat([message.from.toMultihash().bytes, sequence])
  },
  sha256: (message) => sha256(message.data),
  lean: (message) => {
    const topic = Buffer.from(message.topic)
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(topic.length))
    const content = decompressed(message.data)
    return sha256(domain(content != null), length, topic, content ?? message.data).subarray(0, 20)
  },
  // zig-libp2p's way: a 32-bit big-endian length, and the bytes as they travelled.
  zig: (message) => {
    const topic = Buffer.from(message.topic)
    const length = Buffer.alloc(4)
    length.writeUInt32BE(topic.length)
    return sha256(domain(true), length, topic, message.data).subarray(0, 20)
  }
}
