// gossipsub: its settings, what it publishes, and what it tells of its mesh and its messages.

import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import { gossipsub, StrictNoSign, StrictSign } from '@libp2p/gossipsub'
import { emit, Summary } from './events.mjs'
import { hexDigest, latencyMs, messageIds, Payloads } from './payload.mjs'

const MESH_LOOK_MS = 100
const MESH_REPORT_MS = 1000

export function gossipService (options) {
  const isUnsigned = options.signing === 'none'
  const id = options.id === 'default' && isUnsigned ? 'sha256' : options.id
  return gossipsub({
    globalSignaturePolicy: isUnsigned ? StrictNoSign : StrictSign,
    allowPublishToZeroTopicPeers: true,
    emitSelf: false,
    msgIdToStrFn: (bytes) => Buffer.from(bytes).toString('hex'),
    // All peers of a test share one address: that is no sybil attack.
    scoreParams: { IPColocationFactorWeight: 0 },
    ...(id === 'library' ? {} : { msgIdFn: messageIds[id] }),
    ...(options.timing === 'lean'
      ? { D: 8, Dlo: 6, Dhi: 12, Dlazy: 6, heartbeatInterval: 700, mcacheLength: 6, mcacheGossip: 3, seenTTL: 24_000 }
      : {})
  })
}

export function runGossip (node, options, started) {
  const pubsub = node.services.pubsub
  const summary = new Summary()
  pubsub.addEventListener('subscription-change', ({ detail }) => {
    for (const { topic, subscribe } of detail.subscriptions) {
      emit(subscribe ? 'subscribed' : 'unsubscribed', { topic, peer: detail.peerId.toString() })
    }
  })
  pubsub.addEventListener('gossipsub:message', ({ detail }) => receive(detail, options, summary))
  if (!options['publish-only']) {
    options.topic.forEach((topic) => pubsub.subscribe(topic))
  }
  watchMeshes(pubsub, options.topic)
  setInterval(() => {
    for (const topic of options.topic) {
      emit('mesh', { topic, peers: [...(pubsub.mesh.get(topic) ?? [])].sort() })
    }
    if (options.report === 'summary') {
      summary.emit()
    }
  }, MESH_REPORT_MS)
  if (options.publishes) {
    options.topic.forEach((topic) => publish(node, topic, options, summary, started))
  }
}

function receive ({ msg, msgId, propagationSource }, options, summary) {
  const latency = latencyMs(msg.data, options.isSnappy)
  summary.add(msg.data.length, latency)
  if (options.report === 'messages') {
    emit('message', {
      topic: msg.topic,
      id: msgId,
      size: msg.data.length,
      sha256: hexDigest(msg.data),
      from: msg.type === 'signed' ? msg.from.toString() : null,
      peer: propagationSource.toString(),
      latency_ms: latency
    })
  }
}

// The library's own graft event also tells of a GRAFT that it refused: look at the mesh itself.
function watchMeshes (pubsub, topics) {
  const known = new Map(topics.map((topic) => [topic, new Set()]))
  setInterval(() => {
    for (const [topic, before] of known) {
      const now = new Set(pubsub.mesh.get(topic) ?? [])
      now.forEach((peer) => before.has(peer) || emit('graft', { topic, peer }))
      before.forEach((peer) => now.has(peer) || emit('prune', { topic, peer }))
      known.set(topic, now)
    }
  }, MESH_LOOK_MS)
}

async function publish (node, topic, options, summary, started) {
  await started
  const payloads = new Payloads(node.peerId, options.size, options.isSnappy)
  const began = performance.now()
  let sent = 0
  for (; options.count === 0 || sent < options.count; sent++) {
    const waitMs = options.rate > 0 ? began + sent / options.rate * 1000 - performance.now() : 0
    await (waitMs > 1 ? sleep(waitMs) : turn())
    const data = payloads.next()
    try {
      await node.services.pubsub.publish(topic, data)
    } catch (error) {
      emit('error', { step: 'publish', topic, reason: String(error) })
      return
    }
    summary.published++
    if (options.report === 'messages') {
      emit('published', { topic, sequence: sent, size: data.length, sha256: hexDigest(data) })
    }
  }
  emit('published_all', { topic, count: sent, seconds: (performance.now() - began) / 1000 })
}
