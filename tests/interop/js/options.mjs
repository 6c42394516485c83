// The command line of tests/interop/README.md.

import { parseArgs } from 'node:util'

const choices = {
  signing: ['strict', 'none'],
  id: ['default', 'library', 'sha256', 'lean', 'zig'],
  timing: ['libp2p', 'lean'],
  transport: ['tcp', 'quic'],
  'key-type': ['ed25519', 'secp256k1'],
  report: ['messages', 'summary']
}
const many = { type: 'string', multiple: true, default: [] }
const flag = { type: 'boolean', default: false }

export function parse () {
  const { values } = parseArgs({
    options: {
      listen: many,
      peer: many,
      topic: many,
      'publish-rate': { type: 'string' },
      size: { type: 'string', default: '1024' },
      count: { type: 'string' },
      upload: { type: 'string', default: '0' },
      download: { type: 'string', default: '0' },
      hold: flag,
      'subscribe-only': flag,
      'publish-only': flag,
      ping: flag,
      echo: flag,
      ...Object.fromEntries(Object.entries(choices).map(([name, [first]]) => [name, { type: 'string', default: first }]))
    }
  })
  for (const [name, legal] of Object.entries(choices)) {
    if (!legal.includes(values[name])) {
      throw new Error(`--${name} is one of ${legal.join(', ')}, not "${values[name]}"`)
    }
  }
  const number = (name) => {
    const value = Number(values[name] ?? 0)
    if (!(value >= 0)) {
      throw new Error(`--${name} is a number from 0 up, not "${values[name]}"`)
    }
    return value
  }
  const isQuic = values.transport === 'quic'
  return {
    ...values,
    listen: values.listen.length > 0 ? values.listen : [isQuic ? '/ip4/127.0.0.1/udp/0/quic-v1' : '/ip4/127.0.0.1/tcp/0'],
    publishes: (values['publish-rate'] ?? values.count) !== undefined && !values['subscribe-only'],
    rate: number('publish-rate'),
    size: number('size'),
    count: number('count'),
    upload: number('upload'),
    download: number('download'),
    isSnappy: ['lean', 'zig'].includes(values.id)
  }
}
