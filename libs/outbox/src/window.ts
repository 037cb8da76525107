import { type Queryable, type Sql, empty, sql } from '@likewise/database'
import { cursorsKept, heldCursors } from './cursors.ts'
import type { Parking } from './delivery.ts'

/** A shard's newest cursor: the window being published, and how far. All numbers are the database's bigints. */
export interface Window {
  readonly shard: number
  readonly n: bigint
  readonly fromSnapshot: string
  readonly toSnapshot: string
  /** Lowest seq of a transaction that began after `fromSnapshot`; null when the window has none. */
  readonly freshSeq: bigint | null
  readonly lastSeq: bigint
  /** The last seq that Kafka acknowledged. */
  readonly afterSeq: bigint
  readonly rowCount: bigint
  readonly attempts: number
}

/** A window to begin or to go on with. */
export interface OpenedWindow extends Window {
  /** Some of the shard's events are parked or were discarded. */
  readonly holdsBack: boolean
}

/** Who moves the cursor: an owner is one process start, an epoch one ownership of one shard. */
export interface Holder {
  readonly owner: string
  readonly epoch: bigint
}

export const isDone = (window: Window): boolean => window.afterSeq >= window.lastSeq

const columns = sql`shard::int as shard, n, from_snapshot::text as "fromSnapshot", to_snapshot::text as "toSnapshot",
  fresh_seq as "freshSeq", last_seq as "lastSeq", after_seq as "afterSeq", row_count as "rowCount", attempts`

const holdsBack = sql`(
    exists (select from catalog.outbox_parked as p where p.shard = cursor.shard and p.resolved_at is null) or
    exists (select from catalog.outbox_parked as p where p.shard = cursor.shard and p.resolution = 'discarded')
  ) as "holdsBack"`

/** A shard's newest cursor. */
export async function readCursor(db: Queryable, shard: number): Promise<Window> {
  const [cursor] = await db.query<Window>(sql`
    select ${columns} from catalog.outbox_cursors where shard = ${shard}::smallint order by n desc limit 1`)
  if (!cursor)
    throw new Error(`Shard ${String(shard)} has no cursor: rows of catalog.outbox_cursors were removed.`)
  return cursor
}

/**
 * The windows to work on: of each shard held, the one that is not finished yet, else the next one, opened here. Shards
 * without new rows get none.
 *
 * Opening: from = the stored `to`, to = this statement's own snapshot. The caller reads no page before this has
 * committed: its commit is flushed (synchronous_commit = on), hence so is every row it saw, even one written with
 * synchronous_commit = off.
 *
 * One statement, because several statements see several snapshots: rows that commit between them would lie inside
 * the window but outside its bounds, and be passed over. The lease (owner, epoch) is checked, and the insert of
 * n + 1 is the compare-and-set: a delayed copy of this statement does nothing. If n + 1 appears between this
 * statement's snapshot and its insert (a copy of an opening whose client is gone), nothing comes back now, and the
 * next call finds that window unfinished. So nobody has to remember what a cursor was.
 *
 * `offset 0` is a fence: without it the planner answers min(seq) by walking the primary key from its beginning
 * (an idle poll of 1 s instead of 4 ms on a large table).
 *
 * Snapshot difference is PgQ's idea (Skype, 2007).
 */
export async function nextWindows(
  db: Queryable,
  owner: string,
  leases: readonly { shard: number; epoch: bigint }[],
): Promise<OpenedWindow[]> {
  return db.query<OpenedWindow>(sql`
    with newest as (
      select * from ${heldCursors(owner, leases)} as cursor
    ), opened as (
      insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, first_seq, fresh_seq, last_seq,
                                          after_seq, row_count, owner, epoch)
      select newest.shard, newest.n + 1, newest.to_snapshot, pg_current_snapshot(),
             least(fresh.first_seq, late.first_seq), fresh.first_seq, greatest(fresh.last_seq, late.last_seq),
             least(fresh.first_seq, late.first_seq) - 1, fresh.row_count + late.row_count, holder, held_epoch
      from newest
      cross join lateral (
        select min(seq) as first_seq, max(seq) as last_seq, count(*) as row_count from (
          select seq from catalog.outbox_events
          where shard = newest.shard and xid >= pg_snapshot_xmax(newest.to_snapshot) offset 0
        ) as rows
      ) as fresh
      cross join lateral (
        select min(seq) as first_seq, max(seq) as last_seq, count(*) as row_count from (
          select seq from catalog.outbox_events
          where shard = newest.shard and xid = any (array(select pg_snapshot_xip(newest.to_snapshot))) offset 0
        ) as rows
      ) as late
      where newest.after_seq >= newest.last_seq and fresh.row_count + late.row_count > 0
        and pg_snapshot_xmax(pg_current_snapshot()) >= pg_snapshot_xmax(newest.to_snapshot) -- or see checkIdentity
      on conflict do nothing
      returning *
    )
    select ${columns}, ${holdsBack} from opened as cursor
    union all
    select ${columns}, ${holdsBack} from newest as cursor where after_seq < last_seq`)
}

/**
 * Moves the cursor behind a page that is done with: acknowledged by Kafka, or parked in this same statement.
 *
 * @returns the new cursor, or null when the compare-and-set failed: another owner, another epoch, or n + 1 taken.
 *   The caller then knows nothing and reads the cursor again.
 */
export async function settle(
  db: Queryable,
  holder: Holder,
  window: Window,
  { afterSeq, parked = [] }: { afterSeq: bigint; parked?: readonly Parking[] },
): Promise<Window | null> {
  return step(db, { holder, window, afterSeq, effects: parkingsOf(parked) })
}

/** Records a failed attempt on the cursor, where `outbox_status` shows it; the window stays where it is. */
export async function recordAttempt(
  db: Queryable,
  holder: Holder,
  window: Window,
  error: string,
): Promise<Window | null> {
  const failed = { attempts: window.attempts + 1, lastError: error.slice(0, 500) }
  return step(db, { holder, window, afterSeq: window.afterSeq, failed })
}

/** Moves what is parked: the cursor stays where it is, but its step keeps everybody else from doing the same. */
export async function resolveParked(
  db: Queryable,
  holder: Holder,
  window: Window,
  moved: { redriven: readonly string[]; refused: readonly Parking[]; discardMarked?: boolean },
): Promise<Window | null> {
  return step(db, { holder, window, afterSeq: window.afterSeq, effects: movesOf(moved) })
}

interface Step {
  holder: Holder
  window: Window
  afterSeq: bigint
  failed?: { attempts: number; lastError: string }
  /** More statements of the same one, which take their condition from `stepped`: no step, no effect. */
  effects?: Sql
}

async function step(
  db: Queryable,
  { holder, window, afterSeq, failed, effects }: Step,
): Promise<Window | null> {
  const rows = await db.query<Window>(sql`
    with trimmed as (
      delete from catalog.outbox_cursors where shard = ${window.shard}::smallint and n < ${window.n - cursorsKept}
    ), stepped as (
      insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, first_seq, fresh_seq, last_seq,
                                          after_seq, row_count, attempts, last_error, owner, epoch)
      select c.shard, c.n + 1, c.from_snapshot, c.to_snapshot, c.first_seq, c.fresh_seq, c.last_seq,
             ${afterSeq}, c.row_count, ${failed?.attempts ?? 0}::int, ${failed?.lastError ?? null}, lease.owner, lease.epoch
      from catalog.outbox_cursors as c
      join catalog.outbox_leases as lease
        on lease.shard = c.shard and lease.owner = ${holder.owner}::uuid and lease.epoch = ${holder.epoch}
      where c.shard = ${window.shard}::smallint and c.n = ${window.n}
      on conflict do nothing
      returning *
    )${effects ?? empty}
    select ${columns} from stepped`)
  return rows[0] ?? null
}

/**
 * Parks events that came from the WAL, whose shards' cursors stand elsewhere; the leases alone say who may.
 *
 * @returns how many of them are parked now. Fewer: a lease is not held, or a row cannot be seen yet, since the WAL shows a
 *   commit before its rows are visible. Calling again is safe.
 */
export async function parkFromWal(
  db: Queryable,
  owner: string,
  leases: readonly { shard: number; epoch: bigint }[],
  parkings: readonly Parking[],
): Promise<number> {
  const rows = await db.query(sql`
    with stepped as (
      select lease.shard from catalog.outbox_leases as lease
      join unnest(${leases.map((l) => l.shard)}::smallint[], ${leases.map((l) => l.epoch)}::bigint[])
        as held(shard, epoch) on held.shard = lease.shard and held.epoch = lease.epoch
      where lease.owner = ${owner}::uuid
    )${parkingsOf(parkings)}
    select 1 from stepped join catalog.outbox_events as e on e.shard = stepped.shard
    where e.seq = any (${parkings.map(({ seq }) => BigInt(seq))}::bigint[])`)
  return rows.length
}

const parkingRows = (parkings: readonly Parking[]): Sql => sql`unnest(
    ${parkings.map(({ seq }) => BigInt(seq))}::bigint[], ${parkings.map(({ reason }) => reason)}::text[],
    ${parkings.map(({ detail }) => detail.slice(0, 2_000))}::text[], ${parkings.map(({ attempts }) => attempts)}::int[]
  ) as parking(seq, reason, detail, attempts)`

/**
 * An event that was redriven once, and comes by again in a republish, is parked again; one that is parked already, stays.
 */
function parkingsOf(parkings: readonly Parking[]): Sql {
  if (parkings.length === 0) return empty
  return sql`, parked as (
      insert into catalog.outbox_parked as p (seq, id, shard, aggregate_type, aggregate_id, event_type, topic,
        partition_key, payload, traceparent, headers, created_at, reason, detail, attempts)
      select e.seq, e.id, e.shard, e.aggregate_type, e.aggregate_id, e.event_type, e.topic, e.partition_key, e.payload,
             e.traceparent, e.headers, e.created_at, parking.reason, parking.detail, parking.attempts
      from stepped cross join ${parkingRows(parkings)}
      join catalog.outbox_events as e on e.shard = stepped.shard and e.seq = parking.seq
      on conflict (seq) do update
        set reason = excluded.reason, detail = excluded.detail, attempts = p.attempts + excluded.attempts,
            parked_at = now(), mark = null, marked_at = null, resolved_at = null, resolution = null
        where p.resolution = 'redriven'
    )`
}

function movesOf(moved: {
  redriven: readonly string[]
  refused: readonly Parking[]
  discardMarked?: boolean
}): Sql {
  return sql`, redriven as (
      update catalog.outbox_parked as p set resolved_at = now(), resolution = 'redriven'
      from stepped where p.seq = any (${moved.redriven.map(BigInt)}::bigint[]) and p.shard = stepped.shard
    ), refused as (
      update catalog.outbox_parked as p
      set reason = parking.reason, detail = parking.detail, attempts = p.attempts + parking.attempts,
          parked_at = now(), mark = null, marked_at = null
      from stepped cross join ${parkingRows(moved.refused)} where p.seq = parking.seq and p.shard = stepped.shard
    ), discarded as (
      update catalog.outbox_parked as p set resolved_at = now(), resolution = 'discarded'
      from stepped
      where ${moved.discardMarked ?? false} and p.shard = stepped.shard and p.resolved_at is null and p.mark = 'discard'
    )`
}
