import { type Queryable, type Sql, type Tx, join, raw, sql } from '@likewise/database'
import { shardOf } from '@likewise/events'
import { allShards, lateRows, newestCursors } from './cursors.ts'
import { ringDays } from './purge.ts'

/** The outbox as of one moment. */
export interface Ledger {
  /** What was committed by then. */
  readonly snapshot: string
  /** By the database's clock; not after the snapshot. */
  readonly takenAt: Date
  /** Rows that were written from then on are all there; older ones may have been purged. */
  readonly coveredFrom: Date
}

const dayMs = 86_400_000
/** A row is of the day in which its transaction began, which may be another than that of its id or its event. */
const edgeMs = 3_600_000

/**
 * Takes the moment, in a transaction that must be REPEATABLE READ and have done nothing yet. Until it ends no slot of the ring
 * is purged: TRUNCATE asks no snapshot.
 */
export async function openLedger(tx: Tx): Promise<Ledger> {
  // No query, so the snapshot is taken after it.
  await tx.execute(sql`lock table catalog.outbox_events in access share mode`)
  const [found] = await tx.query<{ snapshot: string; takenAt: Date }>(
    sql`select pg_current_snapshot()::text as snapshot, now() as "takenAt"`,
  )
  if (!found) throw new Error('A statement over one row of constants gave none.')
  const { today, filled } = await readRing(tx)
  return { ...found, coveredFrom: new Date((today - daysCovered(today, filled)) * dayMs + edgeMs) }
}

/** Which slots of the ring have rows, and the day it is. */
async function readRing(db: Queryable): Promise<{ today: number; filled: ReadonlySet<number> }> {
  const filled = Array.from({ length: ringDays }, (_, slot) => {
    const partition = raw(`catalog.outbox_events_${String(slot)}`)
    return sql`case when exists (select from ${partition}) then ${slot}::int end`
  })
  const [found] = await db.query<{ today: number; filled: (number | null)[] }>(sql`
    select floor(extract(epoch from now()) / 86400)::int as today, array[${join(filled)}] as filled`)
  if (!found) throw new Error('A statement over one row of constants gave none.')
  return { today: found.today, filled: new Set(found.filled.flatMap((slot) => slot ?? [])) }
}

/** Whether the slot that tomorrow's rows go to has old ones: nobody has purged for two days. */
export async function isRingFull(db: Queryable): Promise<boolean> {
  const { today, filled } = await readRing(db)
  return filled.has((today + 1) % ringDays)
}

/** Today and yesterday are never purged, nor is what follows an older day that is there without a gap. Pure. */
export function daysCovered(today: number, filled: ReadonlySet<number>): number {
  let days = 1
  while (days + 1 < ringDays && filled.has((today - days - 1) % ringDays)) days += 1
  return days
}

/** The rows of these shards that a later transaction sees and the snapshot does not; for a `from` clause. */
export const rowsSince = (snapshot: string, shards: readonly number[] = allShards): Sql => sql`(
    select found.* from unnest(${shards}::smallint[]) as each_shard(shard) cross join lateral (
      select * from catalog.outbox_events
      where shard = each_shard.shard and xid >= pg_snapshot_xmax(${snapshot}::pg_snapshot)
      union all
      select * from ${lateRows(sql`each_shard.shard`, sql`${snapshot}::pg_snapshot`)} as late
    ) as found
  )`

/** An event that the outbox holds, or held, back from the topic. */
export interface HeldEvent {
  readonly id: string
  readonly partitionKey: string
  readonly eventType: string
  readonly reason: string
  readonly detail: string
  readonly resolution: 'redriven' | 'discarded' | null
  readonly resolvedAt: Date | null
}

/**
 * Events of the ledger's moment that were parked then or later, or have been given up, as of the transaction that this runs
 * in. Of a few it may be that they have been sent by now.
 */
export async function readHeldSince(
  db: Queryable,
  { snapshot, takenAt }: Ledger,
  { topic, keys }: { topic: string; keys?: readonly string[] },
): Promise<HeldEvent[]> {
  return db.query<HeldEvent>(sql`
    select p.id::text as id, p.partition_key as "partitionKey", p.event_type as "eventType", p.reason, p.detail,
           p.resolution, p.resolved_at as "resolvedAt"
    from catalog.outbox_parked as p
    -- where the ring was purged under it, it is older than any moment
    left join catalog.outbox_events as e on e.shard = p.shard and e.seq = p.seq
    where p.topic = ${topic} and (e.seq is null or pg_visible_in_snapshot(e.xid, ${snapshot}::pg_snapshot))
      and (p.resolved_at is null or p.resolved_at >= ${takenAt}::timestamptz or p.resolution = 'discarded')
      and ${keys === undefined ? sql`true` : sql`p.partition_key = any (${keys}::text[])`}
    order by p.seq`)
}

/** A row of the outbox, as one who looks for a fault wants to see it. */
export interface LedgerEvent {
  readonly id: string
  readonly partitionKey: string
  readonly eventType: string
  readonly payload: string
  /** Of the ledger's moment; the others were committed since. */
  readonly committed: boolean
  /** By the relay's cursors; also what is parked. */
  readonly published: boolean
}

export interface LedgerSelection {
  readonly topic: string
  readonly eventTypes: readonly string[]
  readonly keys: readonly string[]
  /** Only what this snapshot does not see. */
  readonly since?: string
}

export interface LedgerPart {
  readonly events: readonly LedgerEvent[]
  /** What it was read by: to read on from there. */
  readonly snapshot: string
}

/**
 * The rows of these keys that the ring holds, in the order of a key, as a transaction sees them that must be REPEATABLE READ.
 * Looks through all of the ring, since there is no index by key, or through what was written since in the keys' shards.
 */
export async function readLedgerOf(
  tx: Queryable,
  { snapshot }: Ledger,
  { topic, eventTypes, keys, since }: LedgerSelection,
): Promise<LedgerPart> {
  const rows =
    since === undefined
      ? sql`catalog.outbox_events`
      : rowsSince(since, [...new Set(keys.map((key) => shardOf(key)))])
  const [own] = await tx.query<{ snapshot: string }>(sql`select pg_current_snapshot()::text as snapshot`)
  if (!own) throw new Error('A statement over one row of constants gave none.')
  const events = await tx.query<LedgerEvent>(sql`
    select e.id::text as id, e.partition_key as "partitionKey", e.event_type as "eventType", e.payload::text as payload,
           pg_visible_in_snapshot(e.xid, ${snapshot}::pg_snapshot) as committed,
           pg_visible_in_snapshot(e.xid, cursor.published_snapshot)
             or (pg_visible_in_snapshot(e.xid, cursor.to_snapshot) and e.seq <= cursor.after_seq) as published
    from ${rows} as e join ${newestCursors} as cursor on cursor.shard = e.shard
    where e.partition_key = any (${keys}::text[]) and e.topic = ${topic} and e.event_type = any (${eventTypes}::text[])
    order by e.seq`)
  return { events, snapshot: own.snapshot }
}
