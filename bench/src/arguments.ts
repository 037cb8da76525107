import { parseArgs } from 'node:util'
import { Failure } from '@likewise/service'

const areas = ['relay', 'consumer', 'e2e', 'api'] as const
export type Area = (typeof areas)[number]

/** What `relay` consists of, in the order it is run; each can be asked for alone. */
export const relayParts = ['drain', 'latency', 'idle', 'wal', 'heldXmin', 'retained'] as const
export type RelayPart = (typeof relayParts)[number]

/** Other people's relays, measured beside ours. */
const peers = ['debezium'] as const
export type Peer = (typeof peers)[number]

export interface Arguments {
  areas: readonly Area[]
  /** Empty where the relay is not among the areas. */
  relayParts: readonly RelayPart[]
  peers: readonly Peer[]
  repeats: number
  /** Ten times the load of what shows itself only with time: minutes of a held snapshot, rows that were retained. */
  long: boolean
  jsonFile: string | undefined
}

const usage =
  'npm run bench [-- [relay] [consumer] [e2e] [api] [--peer debezium] [--long] [--repeats 3] [--json FILE]]; parts of the ' +
  `relay alone: ${relayParts.map((part) => `relay.${part}`).join(' ')}`
const repeatsMax = 20

/** Pure. Throws CONFIG_INVALID with the usage. */
export function readArguments(args: readonly string[]): Arguments {
  const { positionals, values } = parsed(args)
  const names = new Set<string>([...areas, ...relayParts.map(nameOf)])
  const unknown = positionals.filter((name) => !names.has(name))
  if (unknown.length > 0) throw invalid(`There is no benchmark ${unknown.join(', ')}.`)
  const wants = (name: string) => positionals.length === 0 || positionals.includes(name)
  const parts = relayParts.filter((part) => wants('relay') || positionals.includes(nameOf(part)))
  const wanted = areas.filter((area) => (area === 'relay' ? parts.length > 0 : wants(area)))
  const strange = values.peer.filter((name) => !peers.some((peer) => peer === name))
  if (strange.length > 0) throw invalid(`There is no peer ${strange.join(', ')}.`)
  if (values.peer.length > 0 && !parts.includes('drain')) {
    throw invalid('A peer is measured beside relay.drain, which is not among the benchmarks.')
  }
  const beside = peers.filter((peer) => values.peer.includes(peer))
  return {
    areas: wanted,
    relayParts: parts,
    peers: beside,
    repeats: readRepeats(values.repeats),
    long: values.long,
    jsonFile: values.json,
  }
}

const nameOf = (part: RelayPart): string => `relay.${part}`

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
