import type { Database } from '@likewise/database'
import { topics } from '@likewise/events'
import {
  countDeadLetters,
  readMarks,
  readNextOffsets,
  readRebuild,
  readRebuildOffsets,
} from '@likewise/inbox'
import { type KafkaOptions, readTopicEnds } from '@likewise/kafka'
import { countParked, readBacklog, readResets } from '@likewise/outbox'
import { Failure } from '@likewise/service'
import { sumOf } from './progress.ts'

export interface ShardStatus {
  shard: number
  pending: number
  oldestAgeMs: number | null
  /** The cursor: window `window` is published up to seq `afterSeq`, and ends at `lastSeq`. */
  window: number
  afterSeq: number
  lastSeq: number
  attempts: number
  lastError: string | null
  owner: string | null
  epoch: number
}

export interface PartitionStatus {
  partition: number
  nextOffset: number
  end: number
  /** Negative: the log ends before the mark. It was truncated or made anew, and new records there are passed over. */
  lag: number
}

export interface RebuildStatus {
  consumer: string
  topic: string
  version: string
  snapshotId: number | null
  begunAt: string
  /** Who works on it, or was the last to do so. */
  owner: string
  /** Somebody works on it now; otherwise it was left unfinished. */
  isUnderWay: boolean
  /** Records counted, of those before the live model's marks. */
  done: number
  total: number
}

/** A part that could not be asked says why instead; the others are shown all the same. */
type Asked<T> = T | { error: string }

export interface Status {
  outbox: Asked<{
    pending: number
    oldestAgeMs: number | null
    /** Parked by the relay, and the keys they hold back. */
    parked: { events: number; keys: number }
    /** Partitions that lost records which had been acknowledged. */
    resets: { topic: string; partition: number; at: string }[]
    shards: ShardStatus[]
  }>
  consumer: Asked<{ name: string; lag: number; partitions: PartitionStatus[] }>
  deadLetters: Asked<{ unresolved: number; byReason: Record<string, number> }>
  rebuild: Asked<{ current: RebuildStatus | null }>
}

export async function readStatus(
  { catalog, metrics }: { catalog: Database; metrics: Database },
  kafka: KafkaOptions,
  consumer: string,
): Promise<Status> {
  const [outbox, consumed, deadLetters, rebuild] = await Promise.all([
    asked(() => outboxStatus(catalog)),
    asked(() => consumerStatus(metrics, kafka, consumer)),
    asked(() => deadLetterStatus(metrics, consumer)),
    asked(async () => ({ current: await readRebuildStatus(metrics) })),
  ])
  return { outbox, consumer: consumed, deadLetters, rebuild }
}

async function outboxStatus(catalog: Database) {
  const backlog = await readBacklog(catalog)
  const parked = await countParked(catalog)
  const resets = await readResets(catalog)
  const shards = backlog.map((shard) => ({
    ...shard,
    pending: Number(shard.pending),
    window: Number(shard.window),
    afterSeq: Number(shard.afterSeq),
    lastSeq: Number(shard.lastSeq),
    epoch: Number(shard.epoch),
  }))
  const ages = shards.flatMap((shard) => shard.oldestAgeMs ?? [])
  return {
    pending: shards.reduce((sum, shard) => sum + shard.pending, 0),
    oldestAgeMs: ages.length > 0 ? Math.max(...ages) : null,
    parked: { events: Number(parked.events), keys: Number(parked.keys) },
    resets: resets.map(({ topic, partition, resetAt }) => ({ topic, partition, at: resetAt.toISOString() })),
    shards,
  }
}

/** Lag by the mark in the database, which moves with the effects; the broker's own record follows it. */
async function consumerStatus(metrics: Database, kafka: KafkaOptions, name: string) {
  // The marks first: a mark beyond an end that was read after it is no race, but a log that has lost its end.
  const next = await readNextOffsets(metrics, name, topics.catalogEvents)
  const ends = await readTopicEnds(kafka, topics.catalogEvents)
  const partitions = ends.map(({ partition, start, end }) => {
    const nextOffset = next.get(partition) ?? start
    return {
      partition,
      nextOffset: Number(nextOffset),
      end: Number(end),
      lag: Number(end - nextOffset),
    }
  })
  return { name, lag: partitions.reduce((sum, { lag }) => sum + Math.max(0, lag), 0), partitions }
}

async function deadLetterStatus(metrics: Database, consumer: string) {
  const reasons = await countDeadLetters(metrics, consumer)
  return {
    unresolved: reasons.reduce((sum, { count }) => sum + Number(count), 0),
    byReason: Object.fromEntries(reasons.map(({ reason, count }) => [reason, Number(count)])),
  }
}

export async function readRebuildStatus(metrics: Database): Promise<RebuildStatus | null> {
  const state = await readRebuild(metrics)
  if (!state) return null
  const { consumer, topic, version, snapshotId, begunAt, ownerName, isHeld } = state
  const marks = await readMarks(metrics, consumer, topic)
  const offsets = await readRebuildOffsets(metrics)
  const base = sumOf(offsets.map(({ baseOffset }) => baseOffset))
  return {
    ...{ consumer, topic, version, owner: ownerName, isUnderWay: isHeld },
    snapshotId: snapshotId === null ? null : Number(snapshotId),
    begunAt: begunAt.toISOString(),
    done: Number(sumOf(offsets.map(({ nextOffset }) => nextOffset)) - base),
    total: Number(sumOf(marks.map(({ nextOffset }) => nextOffset)) - base),
  }
}

async function asked<T>(ask: () => Promise<T>): Promise<Asked<T>> {
  try {
    return await ask()
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    return { error: error.message }
  }
}
