// A gossipsub peer on js-libp2p, driven by its command line and told of by JSON lines (tests/interop/README.md).

import './with-resolvers.mjs'

import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { identify, identifyPush } from '@libp2p/identify'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { multiaddr } from '@multiformats/multiaddr'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import { emit } from './events.mjs'
import { gossipService, runGossip } from './gossip.mjs'
import { parse } from './options.mjs'
import { download, serveTransfers, upload } from './transfer.mjs'

const STEP_TIMEOUT_MS = 10_000
const STOP_TIMEOUT_MS = 2_000

async function makeNode (options) {
  const isQuic = options.transport === 'quic'
  // Loaded only when asked for: its native part is not made for every machine.
  const transport = isQuic ? (await import('@chainsafe/libp2p-quic')).quic() : tcp()
  return createLibp2p({
    privateKey: await generateKeyPair(options['key-type'] === 'secp256k1' ? 'secp256k1' : 'Ed25519'),
    addresses: { listen: options.listen },
    transports: [transport],
    connectionEncrypters: isQuic ? [] : [noise()],
    streamMuxers: isQuic ? [] : [yamux()],
    // A measuring instrument sets no limits of its own; the default lets 5 connections a second in.
    connectionManager: { inboundConnectionThreshold: 10_000, maxIncomingPendingConnections: 10_000 },
    services: { identify: identify(), identifyPush: identifyPush(), ping: ping(), pubsub: gossipService(options) }
  })
}

function watchConnections (node) {
  const told = new WeakSet()
  node.addEventListener('peer:identify', ({ detail }) => {
    // An identify push tells it again.
    if (told.has(detail.connection)) {
      return
    }
    told.add(detail.connection)
    emit('connected', {
      peer: detail.peerId.toString(),
      direction: detail.connection.direction,
      agent: detail.agentVersion ?? '',
      protocols: detail.protocols,
      address: detail.connection.remoteAddr.toString()
    })
  })
  node.addEventListener('peer:disconnect', ({ detail }) => emit('disconnected', { peer: detail.toString() }))
}

// Dials one peer and does with it what the options ask for.
async function reach (node, options, address) {
  let step = 'dial'
  try {
    const connection = await node.dial(multiaddr(address), { signal: AbortSignal.timeout(STEP_TIMEOUT_MS) })
    const peer = connection.remotePeer
    if (options.ping) {
      step = 'ping'
      const rtt = await node.services.ping.ping(peer, { signal: AbortSignal.timeout(STEP_TIMEOUT_MS) })
      emit('ping', { peer: peer.toString(), rtt_ms: rtt })
    }
    step = 'upload'
    options.upload > 0 && await upload(node, peer, options.upload)
    step = 'download'
    options.download > 0 && await download(node, peer, options.download)
  } catch (error) {
    emit('error', { step, address, reason: String(error) })
  }
}

// Follows the commands on standard input; its end, which a dead parent causes too, ends the peer.
async function obey (node, options, start) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, ...rest] = line.trim().split(/\s+/)
    if (command === 'publish' && rest.length === 0) {
      start()
    } else if (command === 'dial' && rest.length === 1) {
      reach(node, options, rest[0])
    } else {
      emit('error', { step: 'command', reason: `unknown: ${line}` })
    }
  }
  stop(node)
}

function stop (node) {
  // The library may wait for peers that do not answer: leave all the same.
  setTimeout(() => process.exit(0), STOP_TIMEOUT_MS)
  Promise.resolve(node.stop()).finally(() => process.exit(0))
}

function versions () {
  return ['libp2p', '@libp2p/gossipsub', '@libp2p/noise', '@libp2p/yamux'].map((name) => {
    const url = new URL(`./node_modules/${name}/package.json`, import.meta.url)
    return `${name} ${JSON.parse(readFileSync(url)).version}`
  }).join(', ')
}

const options = parse()
const node = await makeNode(options)
process.once('SIGTERM', () => stop(node))
process.once('SIGINT', () => stop(node))
watchConnections(node)
if (options.echo) {
  await serveTransfers(node)
}
const { promise: started, resolve: start } = Promise.withResolvers()
options.hold || start()
runGossip(node, options, started)
emit('listening', {
  peer_id: node.peerId.toString(),
  addresses: node.getMultiaddrs().map(String),
  implementation: `${versions()}, node ${process.version}`
})
obey(node, options, start)
options.peer.forEach((address) => reach(node, options, address))
