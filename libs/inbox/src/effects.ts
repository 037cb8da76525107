import { type Queryable, type Tx, arrayOf, sql } from '@likewise/database'
import { shardCount, shardOf } from '@likewise/events'
import { type Scope, lockMark } from './offsets.ts'

/** What is remembered of an event. */
export interface Remembered {
  readonly id: string
  readonly key: string
  readonly eventType: string
  /** Text with microseconds: what one transaction did has the same. */
  readonly handledAt: string
  /** It was given up instead of having its effect. */
  readonly discarded: boolean
}

const rememberedColumns = sql`h.event_id::text as id, h.aggregate_id as key, h.event_type as "eventType",
  h.handled_at::text as "handledAt",
  exists (
    -- A discard remembers the id in its own transaction; of an event that had its effect before, it is there already.
    select from metrics.dead_letters as d
    where d.event_id = h.event_id and d.resolution = 'discarded' and d.consumer = h.consumer
      and d.resolved_at = h.handled_at
  ) as discarded`

/** Of these events, those that are remembered: one look into an index for each. */
export async function readRemembered(
  db: Queryable,
  consumer: string,
  ids: readonly string[],
): Promise<Map<string, Remembered>> {
  if (ids.length === 0) return new Map()
  const rows = await db.query<Remembered>(sql`
    select ${rememberedColumns} from unnest(${arrayOf(ids)}::uuid[]) as e(id)
    join metrics.event_handled as h
      on h.consumer = ${consumer} and h.event_id = e.id and h.slot = metrics.handled_slot(e.id)`)
  return new Map(rows.map((row) => [row.id, row]))
}

/** All that is remembered of these keys. Looks through the whole ring: there is no index by key. */
export async function readRememberedOf(
  db: Queryable,
  consumer: string,
  keys: readonly string[],
): Promise<Remembered[]> {
  return db.query<Remembered>(sql`
    select ${rememberedColumns} from metrics.event_handled as h
    where h.consumer = ${consumer} and h.aggregate_id = any (${keys}::text[])`)
}

/** Keeps the ring from being purged until the transaction ends; before its first query, so that its snapshot comes after. */
export const holdRemembered = (tx: Tx): Promise<unknown> =>
  tx.execute(sql`lock table metrics.event_handled in access share mode`)

/**
 * Locks the marks of the partitions in which a key's records may lie, in their order: no batch of the key runs now, no
 * redrive and no switch of the model. Makes those that are not there yet: what is not there keeps nobody waiting.
 */
export async function lockMarksOf(
  tx: Tx,
  { consumer, topic }: Pick<Scope, 'consumer' | 'topic'>,
  { key, partitions }: { key: string; partitions: number },
): Promise<void> {
  for (let partition = 0; partition < partitions; partition += 1) {
    // A shard feeds the partitions that are congruent to it, as long as their number is a multiple of the shards'.
    if (partitions % shardCount !== 0 || partition % shardCount === shardOf(key))
      await lockMark(tx, { consumer, topic, partition })
  }
}

/** Who did what to dead letters of an event. */
export const readInboxAudit = (
  db: Queryable,
  eventId: string,
): Promise<{ at: Date; actor: string; action: string; detail: string | null }[]> =>
  db.query(sql`
    select at, actor, action, detail from metrics.inbox_audit where event_id = ${eventId}::uuid order by id`)
