import { type TextEnvelope, envelopeOf, shardCount } from '@likewise/events'
import type { InboxRecord } from '@likewise/inbox/decisions'
import { Failure } from '@likewise/service'
import { type Row, epochMs } from './catalog.ts'
import type { Server, World } from './world.ts'

/** A group's member, and what it was given by the rebalance of that generation. */
export interface Assignment {
  readonly generation: number
  readonly partitions: readonly number[]
}

export interface Fetched {
  readonly assignment: Assignment
  readonly batches: readonly { partition: number; records: readonly InboxRecord[]; logEnd: number }[]
}

/** A member that is silent for so long leaves the group. */
const sessionMs = 200

export type Broker = ReturnType<typeof buildBroker>

/** One topic of twelve partitions and one group, as Kafka keeps them. */
export function buildBroker(world: World) {
  const server: Server = { downUntilMs: 0 }
  const partitions = Array.from({ length: shardCount }, (): InboxRecord[] => [])
  const committed = partitions.map(() => 0)
  let shown = { untilMs: 0, ends: partitions.map(() => 0) }
  const seenMs = new Map<string, number>()
  let [generation, members] = [0, [] as string[]]

  function append(partition: number, { key, value, headers }: TextEnvelope): void {
    const log = partitions[partition]
    log?.push({
      offset: BigInt(log.length),
      key,
      value: Buffer.from(value),
      headers,
      timeMs: epochMs + world.now(),
    })
  }
  /** Who is silent leaves, who is new joins: either way all partitions are given out anew. */
  function meet(member: string): Assignment {
    seenMs.set(member, world.now())
    const alive = [...seenMs].filter(([, ms]) => world.now() - ms < sessionMs).map(([name]) => name)
    alive.sort()
    if (alive.join() !== members.join()) [generation, members] = [generation + 1, alive]
    const place = members.indexOf(member)
    const own = partitions.flatMap((_, i) => (i % members.length === place ? i : []))
    return { generation, partitions: own }
  }

  const endOf = (partition: number): number => {
    const { length } = partitions[partition] ?? []
    return world.now() < shown.untilMs ? Math.min(length, shown.ends[partition] ?? 0) : length
  }

  return {
    server,
    partitions,
    committed,
    append,
    /** Other leaders, that have all records and do not know yet that the last ones are safe: they show an earlier end. */
    lag(records: number, untilMs: number): void {
      shown = { untilMs, ends: partitions.map(({ length }) => Math.max(0, length - records)) }
    },
    /** A page of one partition is taken as a whole or not at all. */
    produce(partition: number, rows: readonly Row[], refuses: (row: Row) => boolean): void {
      if (rows.some(refuses)) throw new Failure('EVENT_REFUSED', 'Kafka refuses the record.')
      for (const row of rows) append(partition, envelopeOf(storedOf(row), '/simulation'))
    },
    /** Records from these offsets on, of the partitions that the member holds now. */
    fetch(member: string, positions: ReadonlyMap<number, number>, recordsMax: number): Fetched {
      const assignment = meet(member)
      return {
        assignment,
        batches: assignment.partitions.flatMap((partition) => {
          const log = partitions[partition] ?? []
          const from = positions.get(partition) ?? committed[partition] ?? 0
          const logEnd = endOf(partition)
          const records = log.slice(from, Math.min(logEnd, from + recordsMax))
          return records.length === 0 ? [] : [{ partition, records, logEnd }]
        }),
      }
    },
    /** Only of the present generation, as the coordinator has it. */
    commit(member: string, of: Assignment, partition: number, next: number): void {
      if (of.generation !== generation || !members.includes(member)) {
        throw new Failure('BROKER_UNAVAILABLE', 'The group has rebalanced.')
      }
      committed[partition] = next
    },
  }
}

export function storedOf({ seq, id, userId, productId, added, atMs }: Row) {
  const createdAt = new Date(atMs).toISOString()
  return {
    seq: String(seq),
    id,
    eventType: added ? 'catalog.like.added.v1' : 'catalog.like.removed.v1',
    aggregateId: String(productId),
    partitionKey: String(productId),
    payload: `{"userId":${userId},"productId":${productId},"createdAt":"${createdAt}"}`,
    createdAt,
    traceparent: null,
    headers: null,
  }
}
