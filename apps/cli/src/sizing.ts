import { catalogEventsPartitions, topicPlans } from '@likewise/events'

/** What somebody expects. Rates are of likes and unlikes together: each that changes something is one event. */
export interface Demand {
  /** On average over a day: it decides what is kept. */
  likesPerSecond: number
  /** The busiest minutes: they decide how many processes there are. */
  peakPerSecond: number
  /** That are liked at all. */
  products: number
  /** RELAY_RETENTION_DAYS. */
  outboxDays: number
  /** Copies of each partition of Kafka. */
  replication: number
  /** Of PostgreSQL. */
  connectionsMax: number
}

/** What was measured, by the names of `npm run bench`: rates of one process, bytes of one thing, MB of one process. */
export type Figures = Readonly<Record<FigureName, number>>

export const figureNames = [
  'api.likes',
  'api.rss',
  'relay.drain',
  'relay.rss',
  'consumer.drain',
  'consumer.hotKey',
  'consumer.rss',
  'storage.like',
  'storage.outboxEvent',
  'storage.handledEvent',
  'storage.record',
  'storage.bucket',
  'storage.product',
] as const
export type FigureName = (typeof figureNames)[number]

export interface Fleet {
  replicas: number
  /** More of them have nothing to do; null where nothing but connections bounds them. */
  replicasMax: number | null
  memoryMb: number
  connections: number
}

export interface Sizing {
  demand: Demand
  fleets: Record<'likeApi' | 'outboxRelay' | 'metricsConsumer' | 'metricsApi', Fleet>
  partitions: number
  shards: number
  connections: { needed: number; max: number }
  /** Bytes once everything has reached its age, and what goes on growing in a year. */
  disk: Record<DiskName, number>
  /** Bytes of what the consumer and the followers read, and the producer sends, in a second of the peak. */
  networkPerSecond: { kafkaIn: number; kafkaOut: number }
  /** After an hour without Kafka at the peak. */
  outage: { rows: number; bytes: number; minutesToDrain: number | null }
  warnings: string[]
}

export type DiskName =
  'outbox' | 'handled' | 'buckets' | 'products' | 'topic' | 'likesPerYear' | 'daysPerYear'

const shards = catalogEventsPartitions
const topicDays = Math.max(...topicPlans.map(({ retentionMs }) => retentionMs)) / 86_400_000
/** The last id of a day goes when it is 31 days old. */
const handledDays = 32
/** Kafka takes a segment away as a whole: it has to be full (1 GiB) or a week old before its age counts. */
const segmentDays = 7
const segmentBytes = 2 ** 30
const minutesKept = 48 * 60
const hoursKept = 90 * 24

/** Defaults of …_POOL_SIZE; a relay has one more for its lease. */
export const pools = { likeApi: 10, outboxRelay: 4 + 1, metricsConsumer: 5, metricsApi: 5 }
/** The commands of likewise, a migration, and what PostgreSQL keeps for its superuser. */
const spareConnections = 4 + 2 + 3
/** A process is planned for half of what was measured: then a backlog shrinks while likes come in as before. */
const plannedShare = 0.5
/** So that one may end. */
const replicasMin = 2

const dayS = 86_400
const managedBytes = 1e12
const managedBytesPerSecond = 10e6

/** Pure. What stands behind it is said by `assumptions`. */
export function sizeOf(demand: Demand, figures: Figures): Sizing {
  const { peakPerSecond: peak, replication } = demand
  const replicasFor = (rate: number) => Math.max(replicasMin, Math.ceil(peak / (rate * plannedShare)))
  const relays = replicasFor(figures['relay.drain'])
  const consumers = replicasFor(figures['consumer.drain'])
  const partitions = Math.ceil(consumers / shards) * shards
  const fleet = (
    replicas: number,
    of: { pool: number; surge: number; memoryMb: number; max: number | null },
  ) => ({
    replicas,
    replicasMax: of.max,
    memoryMb: replicas * of.memoryMb,
    connections: (replicas + of.surge) * of.pool,
  })
  const fleets = {
    likeApi: fleet(replicasFor(figures['api.likes']), {
      pool: pools.likeApi,
      surge: 1,
      memoryMb: figures['api.rss'],
      max: null,
    }),
    outboxRelay: fleet(Math.min(relays, shards), {
      pool: pools.outboxRelay,
      surge: 0,
      memoryMb: figures['relay.rss'],
      max: shards,
    }),
    metricsConsumer: fleet(consumers, {
      pool: pools.metricsConsumer,
      surge: 0,
      memoryMb: figures['consumer.rss'],
      max: partitions,
    }),
    metricsApi: fleet(replicasMin, {
      pool: pools.metricsApi,
      surge: 1,
      memoryMb: figures['api.rss'],
      max: null,
    }),
  }
  const needed = Object.values(fleets).reduce((sum, { connections }) => sum + connections, spareConnections)
  const kafkaIn = peak * figures['storage.record']
  const rows = peak * 3_600
  const drained = fleets.outboxRelay.replicas * figures['relay.drain'] - peak
  const sizing = {
    demand,
    fleets,
    partitions,
    shards,
    connections: { needed, max: demand.connectionsMax },
    disk: diskOf(demand, figures, partitions),
    networkPerSecond: { kafkaIn: kafkaIn * replication, kafkaOut: kafkaIn * replication },
    outage: {
      rows,
      bytes: rows * figures['storage.outboxEvent'],
      minutesToDrain: drained > 0 ? rows / drained / 60 : null,
    },
  }
  return {
    ...sizing,
    warnings: warningsOf(sizing, { relays, hotKey: figures['consumer.hotKey'] * plannedShare }),
  }
}

function diskOf(
  { likesPerSecond, products, outboxDays, replication }: Demand,
  figures: Figures,
  partitions: number,
): Sizing['disk'] {
  const perDay = likesPerSecond * dayS
  const recordBytesPerDay = perDay * figures['storage.record']
  const buckets =
    minutesKept * distinct(likesPerSecond * 60, products) +
    hoursKept * distinct(likesPerSecond * 3_600, products)
  return {
    // A day goes when its last event is older than the retention.
    outbox: perDay * (outboxDays + 1) * figures['storage.outboxEvent'],
    handled: perDay * handledDays * figures['storage.handledEvent'],
    buckets: buckets * figures['storage.bucket'],
    products: products * figures['storage.product'],
    topic:
      replication *
      (recordBytesPerDay * topicDays + Math.min(recordBytesPerDay * segmentDays, partitions * segmentBytes)),
    likesPerYear: perDay * 365 * figures['storage.like'],
    daysPerYear: 365 * distinct(perDay, products) * figures['storage.bucket'],
  }
}

/** How many of so many products have a like among so many, where all are liked alike: the most that there can be on average. */
function distinct(likes: number, products: number): number {
  return products * (1 - Math.exp(-likes / products))
}

function warningsOf(
  { connections, disk, networkPerSecond, demand }: Omit<Sizing, 'warnings'>,
  { relays, hotKey }: { relays: number; hotKey: number },
): string[] {
  const { peakPerSecond: peak } = demand
  return [
    ...(relays > shards
      ? [
          `The outbox has ${String(shards)} shards, for as many relays, and ${String(relays)} are needed: this is beyond one outbox. Split the products over several databases.`,
        ]
      : []),
    ...(connections.needed > connections.max
      ? [
          `${String(connections.needed)} connections are needed and max_connections is ${String(connections.max)}: raise it, make pools smaller, or put a pooler in between.`,
        ]
      : []),
    ...(peak > hotKey
      ? [
          `One product's events go through one partition: no single product may have more than ${hotKey.toFixed(0)} likes/s of the ${peak.toFixed(0)}.`,
        ]
      : []),
    ...(demand.replication < 3
      ? [
          'With fewer than three copies of each partition an ended broker stops the topic, or loses what it had.',
        ]
      : []),
    ...(disk.topic > managedBytes || networkPerSecond.kafkaIn > managedBytesPerSecond
      ? [
          'The topic is large enough that brokers need somebody who looks after them every week: see docs/sizing.md about a managed Kafka.',
        ]
      : []),
  ]
}

/** What the model takes for granted, for whoever reads its numbers. */
export const assumptions = [
  'A process is planned for half of what was measured, and there are two of each at least; metrics-api is not sized by reads.',
  'Every like is a new one, and each is one event. An unlike is an event too, and takes its like away.',
  'All products are liked alike (the most buckets that there can be). The events of one product go through one partition.',
  'Pools have their default sizes; in a rollout there is one like-api and one metrics-api more.',
  `Kept: the outbox for its retention and a day, ids for ${String(handledDays)} days, the topic for ${String(topicDays)} days and what lies in its last segments, minutes for 48 hours, hours for 90 days; days and likes for ever.`,
  'Bytes are those of tables and indexes as they are filled, without WAL, vacuum, backups and standbys of PostgreSQL. Batches of one record take up to 61 bytes more on Kafka.',
  'How much PostgreSQL itself bears is not modelled: api.likes was measured with it on the same two cores. Measure yours.',
]
