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

/** What a run does unless it is told otherwise. `docs/chaos.md` explains each. */
export const usualKinds = [
  'kill',
  'kill-at',
  'stop',
  'sleep',
  'clock',
  'link',
  'terminate',
  'held-transaction',
  'pool',
  'connections',
  'postgres-crash',
  'kafka-crash',
  'kafka-hang',
  'repeats',
  'reordered',
  'rebalances',
] as const

/** Those that take a slow machine long, or whose healing does: with `--faults all`, or by their names. */
const heavyKinds = [
  'cpu',
  'clock-jump',
  'postgres-disk-full',
  'kafka-disk-full',
  'offsets-back',
  'partitions',
  'topic-again',
] as const

export const faultKinds = [...usualKinds, ...heavyKinds] as const
export type FaultKind = (typeof faultKinds)[number]

/** Points at which a process is killed, each in one of the apps. */
export const killPoints = {
  'in a like': 'like-api',
  'before publish': 'outbox-relay',
  'before settle': 'outbox-relay',
  'while settling': 'outbox-relay',
  'in its transaction': 'metrics-consumer',
  'before the offset': 'metrics-consumer',
} as const
export type KillPoint = keyof typeof killPoints

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
  /** For a kill at a point. */
  readonly point: KillPoint
  /** For what a fault has to choose while it goes on. */
  readonly seed: number
}

export const instancesOf = { 'like-api': 2, 'outbox-relay': 2, 'metrics-consumer': 3 } as const

const gapMaxMs = 4_000

/**
 * The faults of a run: pure, and all of it by the seed. Two lanes, so that some go on together; a lane begins its next one
 * when the one before is healed, and not before its time. Kinds are dealt like cards: none comes again before each has come
 * once.
 */
export function planFaults(random: Random, lengthMs: number, kinds: readonly FaultKind[]): Fault[][] {
  const lanes = [0, 1].map(() => ({ nextMs: 1_000 + random.below(gapMaxMs), faults: [] as Fault[] }))
  const deal = buildDealer(random, kinds)
  for (;;) {
    const lane = lanes.reduce((first, other) => (other.nextMs < first.nextMs ? other : first))
    if (lane.nextMs >= lengthMs) return lanes.map(({ faults }) => faults)
    const fault = faultOf(random, deal(), lane.nextMs)
    lane.faults.push(fault)
    lane.nextMs += fault.forMs + 500 + random.below(gapMaxMs)
  }
}

function buildDealer<T>(random: Random, cards: readonly T[]): () => T {
  let deck: T[] = []
  return () => {
    if (deck.length === 0) deck = [...cards]
    const [card] = deck.splice(random.below(deck.length), 1)
    if (card === undefined) throw new Error('There is nothing to deal.')
    return card
  }
}

function faultOf(random: Random, kind: FaultKind, atMs: number): Fault {
  const point = random.pick(Object.keys(killPoints) as KillPoint[])
  const anyApp = random.pick(apps)
  const app = kind === 'kill-at' ? killPoints[point] : anyApp
  const [minMs, maxMs] = lengths[kind]
  return {
    ...{ kind, atMs, app, point },
    instance: random.below(instancesOf[app]) + 1,
    server: app === 'like-api' ? 'postgres' : random.pick(['postgres', 'kafka'] as const),
    toxic: toxicOf(random),
    forMs: minMs + random.below(maxMs - minMs + 1),
    seed: random.below(2 ** 31),
  }
}

/** From the shortest to the longest: past leases (5 s), sessions (10 s) and sends (5 s) now and then. */
const lengths: Record<FaultKind, readonly [number, number]> = {
  kill: [0, 0],
  'kill-at': [0, 0],
  sleep: [500, 15_000],
  stop: [0, 0],
  clock: [5_000, 10_000],
  'clock-jump': [3_000, 8_000],
  cpu: [2_000, 8_000],
  terminate: [0, 0],
  'held-transaction': [2_000, 15_000],
  pool: [1_000, 8_000],
  connections: [2_000, 8_000],
  'postgres-crash': [200, 4_000],
  'postgres-disk-full': [2_000, 8_000],
  'kafka-crash': [200, 8_000],
  'kafka-hang': [1_000, 12_000],
  'kafka-disk-full': [2_000, 8_000],
  link: [2_000, 12_000],
  repeats: [0, 0],
  reordered: [0, 0],
  rebalances: [6_000, 12_000],
  'offsets-back': [0, 0],
  partitions: [0, 0],
  'topic-again': [1_000, 4_000],
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

/** What a fault counts as in the table. */
export function nameOf({ kind, toxic, point }: Fault): string {
  if (kind === 'link') return `link: ${toxic.kind}`
  return kind === 'kill-at' ? `kill-at: ${point}` : kind
}

const ofProcess: readonly FaultKind[] = ['kill', 'sleep', 'stop', 'link', 'clock', 'clock-jump']
const ofApp: readonly FaultKind[] = ['terminate', 'pool']

export function textOf(fault: Fault): string {
  const { kind, atMs, forMs, app, instance, server, toxic, point } = fault
  const target = ofProcess.includes(kind) ? ` ${app}-${instance}` : ofApp.includes(kind) ? ` ${app}` : ''
  const link = kind === 'link' ? ` → ${server}: ${JSON.stringify(toxic)}` : ''
  const where = kind === 'kill-at' ? ` ${app}-${instance}, ${point}` : ''
  const length = forMs > 0 ? `, for ${(forMs / 1_000).toFixed(1)} s` : ''
  return `${(atMs / 1_000).toFixed(1).padStart(6)} s  ${kind}${target}${link}${where}${length}`
}
