// The test protocols: a sink that answers with a digest, and a source of as many bytes as were asked for.

import { createHash } from 'node:crypto'
import { emit } from './events.mjs'

const SINK = '/leanmesh/test/sink/1'
const SOURCE = '/leanmesh/test/source/1'
const PATTERN_PERIOD = 251
const CHUNK_BYTES = 64 << 10
// 64 MiB through a slow peer on a busy machine.
const TIMEOUT_MS = 300_000

// Byte i % 251; prime, so that no chunk of a power of two bytes repeats the one before it.
const pattern = Buffer.from(Uint8Array.from({ length: PATTERN_PERIOD + CHUNK_BYTES }, (_, i) => i % PATTERN_PERIOD))

export async function serveTransfers (node) {
  const options = { maxInboundStreams: 1000 }
  await node.handle(SINK, async (stream, connection) => {
    await report('sink', connection.remotePeer, stream, async () => {
      const { bytes, digest } = await digestOf(stream)
      await send(stream, Buffer.from(`${digest} ${bytes}\n`))
      await stream.close()
      return { bytes, sha256: digest }
    })
  }, options)
  await node.handle(SOURCE, async (stream, connection) => {
    await report('source', connection.remotePeer, stream, async () => {
      const request = await readAll(stream, 8)
      const sent = await sendPattern(stream, Number(request.readBigUInt64BE()))
      await stream.close()
      return sent
    })
  }, options)
}

export async function upload (node, peerId, count) {
  const stream = await node.dialProtocol(peerId, SINK)
  await report('upload', peerId, stream, async () => {
    const sent = await sendPattern(stream, count)
    // Its promise settles when the other side has closed too: wait for the answer, not for that.
    const closed = stream.close()
    const [digest, bytes] = (await readAll(stream)).toString().trim().split(' ')
    await closed
    return { ...sent, remote_sha256: digest, remote_bytes: Number(bytes) }
  })
}

export async function download (node, peerId, count) {
  const stream = await node.dialProtocol(peerId, SOURCE)
  await report('download', peerId, stream, async () => {
    const request = Buffer.alloc(8)
    request.writeBigUInt64BE(BigInt(count))
    await send(stream, request)
    const closed = stream.close()
    const { bytes, digest } = await digestOf(stream)
    await closed
    return { bytes, sha256: digest }
  })
}

async function report (direction, peerId, stream, talk) {
  const began = performance.now()
  const timer = setTimeout(() => stream.abort(new Error(`${direction} took over ${TIMEOUT_MS} ms`)), TIMEOUT_MS)
  try {
    const told = await talk()
    emit('transfer', { direction, peer: peerId.toString(), seconds: (performance.now() - began) / 1000, ...told })
  } catch (error) {
    stream.abort(error)
    emit('error', { step: direction, peer: peerId.toString(), reason: String(error) })
  } finally {
    clearTimeout(timer)
  }
}

async function sendPattern (stream, count) {
  const hash = createHash('sha256')
  for (let sent = 0; sent < count;) {
    const phase = sent % PATTERN_PERIOD
    const part = pattern.subarray(phase, phase + Math.min(CHUNK_BYTES, count - sent))
    hash.update(part)
    await send(stream, part)
    sent += part.length
  }
  return { bytes: count, sha256: hash.digest('hex') }
}

async function send (stream, data) {
  if (!stream.send(data)) {
    await stream.onDrain()
  }
}

async function digestOf (stream) {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of stream) {
    hash.update(chunk.subarray())
    bytes += chunk.byteLength
  }
  return { bytes, digest: hash.digest('hex') }
}

async function readAll (stream, enough = Infinity) {
  let read = Buffer.alloc(0)
  for await (const chunk of stream) {
    read = Buffer.concat([read, chunk.subarray()])
    if (read.length >= enough) {
      break
    }
  }
  return read
}
