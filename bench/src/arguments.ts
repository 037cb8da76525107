import { parseArgs } from 'node:util'
import { Failure } from '@likewise/service'

const areas = ['relay', 'consumer', 'e2e'] as const
export type Area = (typeof areas)[number]

/** Other people's relays, measured beside ours. */
const peers = ['debezium'] as const
export type Peer = (typeof peers)[number]

export interface Arguments {
  areas: readonly Area[]
  peers: readonly Peer[]
  repeats: number
  jsonFile: string | undefined
}

const usage = 'npm run bench [-- [relay] [consumer] [e2e] [--peer debezium] [--repeats 3] [--json FILE]]'
const repeatsMax = 20

/** Pure. Throws CONFIG_INVALID with the usage. */
export function readArguments(args: readonly string[]): Arguments {
  const { positionals, values } = parsed(args)
  const unknown = positionals.filter((name) => !areas.some((area) => area === name))
  if (unknown.length > 0) throw invalid(`There is no benchmark ${unknown.join(', ')}.`)
  const repeats = Number(values.repeats)
  if (!Number.isInteger(repeats) || repeats < 1 || repeats > repeatsMax) {
    throw invalid(`--repeats is ${JSON.stringify(values.repeats)}; it must be 1 to ${String(repeatsMax)}.`)
  }
  const wanted = areas.filter((area) => positionals.length === 0 || positionals.includes(area))
  const strange = values.peer.filter((name) => !peers.some((peer) => peer === name))
  if (strange.length > 0) throw invalid(`There is no peer ${strange.join(', ')}.`)
  if (values.peer.length > 0 && !wanted.includes('relay')) {
    throw invalid('A peer is measured beside the relay, which is not among the benchmarks.')
  }
  const beside = peers.filter((peer) => values.peer.includes(peer))
  return { areas: wanted, peers: beside, repeats, jsonFile: values.json }
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        json: { type: 'string' },
        peer: { type: 'string', multiple: true, default: [] },
        repeats: { type: 'string', default: '3' },
      },
    })
  } catch (error) {
    throw invalid((error as Error).message)
  }
}

const invalid = (sentence: string) => new Failure('CONFIG_INVALID', `${sentence} Usage: ${usage}`)
