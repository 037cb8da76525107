import { parseArgs } from 'node:util'
import { Failure } from '@likewise/service'

const areas = ['relay', 'consumer', 'e2e', 'api', 'pooler', 'storage'] as const
export type Area = (typeof areas)[number]

/** What `relay` consists of, in the order it is run; each can be asked for alone. */
export const relayParts = ['drain', 'latency', 'idle', 'wal', 'heldXmin', 'retained'] as const
export type RelayPart = (typeof relayParts)[number]

/** What `consumer` consists of, likewise. */
export const consumerParts = ['drain', 'hotKey', 'replicas3'] as const
export type ConsumerPart = (typeof consumerParts)[number]

/** Other people's relays, measured beside ours. */
const peers = ['debezium'] as const
export type Peer = (typeof peers)[number]

export interface Arguments {
  areas: readonly Area[]
  /** Empty where the relay is not among the areas. */
  relayParts: readonly RelayPart[]
  /** Likewise of the consumer. */
  consumerParts: readonly ConsumerPart[]
  peers: readonly Peer[]
  repeats: number
  /** Ten times the load of what shows itself only with time: minutes of a held snapshot, rows that were retained. */
  long: boolean
  jsonFile: string | undefined
}

const usage =
  'npm run bench [-- [relay] [consumer] [e2e] [api] [pooler] [storage] [--peer debezium] [--long] [--repeats 3] [--json FILE]]; ' +
  'parts alone: ' +
  [...namesOf('relay', relayParts), ...namesOf('consumer', consumerParts)].join(' ')
const repeatsMax = 20

/** Pure. Throws CONFIG_INVALID with the usage. */
export function readArguments(args: readonly string[]): Arguments {
  const { positionals, values } = parsed(args)
  const names = new Set<string>([
    ...areas,
    ...namesOf('relay', relayParts),
    ...namesOf('consumer', consumerParts),
  ])
  const unknown = positionals.filter((name) => !names.has(name))
  if (unknown.length > 0) throw invalid(`There is no benchmark ${unknown.join(', ')}.`)
  const wants = (name: string) => positionals.length === 0 || positionals.includes(name)
  const wantedOf = <P extends string>(area: Area, parts: readonly P[]) =>
    parts.filter((part) => wants(area) || positionals.includes(`${area}.${part}`))
  const [ofRelay, ofConsumer] = [wantedOf('relay', relayParts), wantedOf('consumer', consumerParts)]
  const hasParts = {
    relay: ofRelay.length > 0,
    consumer: ofConsumer.length > 0,
    e2e: wants('e2e'),
    api: wants('api'),
    pooler: wants('pooler'),
    storage: wants('storage'),
  }
  const strange = values.peer.filter((name) => !peers.some((peer) => peer === name))
  if (strange.length > 0) throw invalid(`There is no peer ${strange.join(', ')}.`)
  if (values.peer.length > 0 && !ofRelay.includes('drain')) {
    throw invalid('A peer is measured beside relay.drain, which is not among the benchmarks.')
  }
  const beside = peers.filter((peer) => values.peer.includes(peer))
  return {
    areas: areas.filter((area) => hasParts[area]),
    relayParts: ofRelay,
    consumerParts: ofConsumer,
    peers: beside,
    repeats: readRepeats(values.repeats),
    long: values.long,
    jsonFile: values.json,
  }
}

function namesOf(area: Area, parts: readonly string[]): string[] {
  return parts.map((part) => `${area}.${part}`)
}

function readRepeats(given: string): number {
  const repeats = Number(given)
  if (!Number.isInteger(repeats) || repeats < 1 || repeats > repeatsMax) {
    throw invalid(`--repeats is ${JSON.stringify(given)}; it must be 1 to ${String(repeatsMax)}.`)
  }
  return repeats
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        json: { type: 'string' },
        long: { type: 'boolean', default: false },
        peer: { type: 'string', multiple: true, default: [] },
        repeats: { type: 'string', default: '3' },
      },
    })
  } catch (error) {
    throw invalid((error as Error).message)
  }
}

const invalid = (sentence: string) => new Failure('CONFIG_INVALID', `${sentence} Usage: ${usage}`)
