import type { Toxic } from '../faults/toxic.ts'

/** The same seed gives the same numbers (mulberry32). */
export interface Random {
  below(n: number): number
  pick<T>(items: readonly T[]): T
}

export function buildRandom(seed: number): Random {
  let state = seed >>> 0
  const below = (n: number): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * n)
  }
  return {
    below,
    pick: (items) => {
      const item = items[below(items.length)]
      if (item === undefined) throw new Error('There is nothing to pick from.')
      return item
    },
  }
}

export const apps = ['like-api', 'outbox-relay', 'metrics-consumer'] as const
export type ChaosApp = (typeof apps)[number]

/** What can be done, by its name on the command line. `docs/chaos.md` explains each. */
export const faultKinds = [
  'kill',
  'sleep',
  'stop',
  'terminate',
  'postgres-crash',
  'kafka-crash',
  'kafka-hang',
  'link',
  'held-transaction',
  'repeats',
  'rebalances',
  'connections',
  'cpu',
  'clock',
  'disk-full',
] as const
export type FaultKind = (typeof faultKinds)[number]

export interface Fault {
  readonly kind: FaultKind
  readonly atMs: number
  /** How long it goes on before it is healed. */
  readonly forMs: number
  readonly app: ChaosApp
  /** Which of the app's processes. */
  readonly instance: number
  /** For a link: towards which server, and what it does. */
  readonly server: 'postgres' | 'kafka'
  readonly toxic: Toxic
}

export const instancesOf = { 'like-api': 2, 'outbox-relay': 2, 'metrics-consumer': 3 } as const

const gapMaxMs = 4_000

/**
 * The faults of a run: pure, and all of it by the seed. Two lanes, so that some go on together; a lane begins its next one
 * when the one before is healed, and not before its time.
 */
export function planFaults(random: Random, lengthMs: number, kinds: readonly FaultKind[]): Fault[][] {
  return [0, 1].map(() => {
    const lane: Fault[] = []
    let atMs = 1_000 + random.below(gapMaxMs)
    while (atMs < lengthMs) {
      const fault = faultOf(random, random.pick(kinds), atMs)
      lane.push(fault)
      atMs += fault.forMs + 500 + random.below(gapMaxMs)
    }
    return lane
  })
}

function faultOf(random: Random, kind: FaultKind, atMs: number): Fault {
  const app = random.pick(apps)
  const instance = random.below(instancesOf[app]) + 1
  const server = app === 'like-api' ? 'postgres' : random.pick(['postgres', 'kafka'] as const)
  const [minMs, maxMs] = lengths[kind]
  return {
    kind,
    atMs,
    app,
    instance,
    server,
    toxic: toxicOf(random),
    forMs: minMs + random.below(maxMs - minMs + 1),
  }
}

/** From the shortest to the longest: past leases (5 s), sessions (10 s) and sends (5 s) now and then. */
const lengths: Record<FaultKind, readonly [number, number]> = {
  kill: [0, 0],
  sleep: [500, 15_000],
  stop: [0, 0],
  terminate: [0, 0],
  'postgres-crash': [200, 4_000],
  'kafka-crash': [200, 8_000],
  'kafka-hang': [1_000, 12_000],
  link: [2_000, 12_000],
  'held-transaction': [2_000, 15_000],
  repeats: [0, 0],
  rebalances: [6_000, 12_000],
  connections: [2_000, 8_000],
  cpu: [2_000, 8_000],
  clock: [5_000, 10_000],
  'disk-full': [2_000, 8_000],
}

function toxicOf(random: Random): Toxic {
  return random.pick<() => Toxic>([
    () => ({ kind: 'latency', ms: 50 + random.below(700), jitterMs: random.below(50) }),
    () => ({ kind: 'bandwidth', bytesPerSecond: 2_000 + random.below(50_000) }),
    () => ({ kind: 'slicer', bytes: 20 + random.below(200), pauseMs: random.below(5) }),
    () => ({ kind: 'timeout', ms: 1_000 + random.below(8_000) }),
    () => ({ kind: 'reset_peer', ms: random.below(2_000) }),
    () => ({ kind: 'limit_data', bytes: 1_000 + random.below(50_000) }),
    () => ({ kind: 'down' }),
  ])()
}

export function textOf({ kind, atMs, forMs, app, instance, server, toxic }: Fault): string {
  const isOfProcess = ['kill', 'sleep', 'stop', 'terminate', 'link', 'clock'].includes(kind)
  const target = isOfProcess ? ` ${app}${kind === 'terminate' ? '' : `-${instance}`}` : ''
  const link = kind === 'link' ? ` → ${server}: ${JSON.stringify(toxic)}` : ''
  return `${(atMs / 1_000).toFixed(1).padStart(6)} s  ${kind}${target}${link}${forMs > 0 ? `, for ${(forMs / 1_000).toFixed(1)} s` : ''}`
}
