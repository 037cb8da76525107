import { type Queryable, sql } from '@likewise/database'

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

/** Who moves the cursor: an owner is one process start, an epoch one ownership of one shard. */
export interface Holder {
  readonly owner: string
  readonly epoch: bigint
}

export const isDone = (window: Window): boolean => window.afterSeq >= window.lastSeq

const columns = sql`shard::int as shard, n, from_snapshot::text as "fromSnapshot", to_snapshot::text as "toSnapshot",
  fresh_seq as "freshSeq", last_seq as "lastSeq", after_seq as "afterSeq", row_count as "rowCount", attempts`

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
): Promise<Window[]> {
  return db.query<Window>(sql`
    with newest as (
      select cursor.*, lease.owner as holder, lease.epoch as held_epoch
      from unnest(${leases.map((l) => l.shard)}::smallint[], ${leases.map((l) => l.epoch)}::bigint[])
        as held(shard, epoch)
      join catalog.outbox_leases as lease
        on lease.shard = held.shard and lease.epoch = held.epoch and lease.owner = ${owner}::uuid
      cross join lateral (
        select * from catalog.outbox_cursors as c where c.shard = held.shard order by c.n desc limit 1
      ) as cursor
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
      on conflict do nothing
      returning *
    )
    select ${columns} from opened
    union all
    select ${columns} from newest where after_seq < last_seq`)
}

/**
 * Moves the cursor behind a page that Kafka has acknowledged.
 *
 * @returns the new cursor, or null when the compare-and-set failed: another owner, another epoch, or n + 1 taken.
 *   The caller then knows nothing and reads the cursor again.
 */
export async function settle(
  db: Queryable,
  holder: Holder,
  window: Window,
  afterSeq: bigint,
): Promise<Window | null> {
  return step(db, holder, window, { afterSeq, attempts: 0, lastError: null })
}

/** Records a failed attempt on the cursor, where `outbox_status` shows it; the window stays where it is. */
export async function recordAttempt(
  db: Queryable,
  holder: Holder,
  window: Window,
  error: string,
): Promise<Window | null> {
  const lastError = error.slice(0, 500)
  return step(db, holder, window, { afterSeq: window.afterSeq, attempts: window.attempts + 1, lastError })
}

// The log of a shard is kept this long: enough to see what happened last, few enough rows that reading stays flat.
const cursorsKept = 50n

async function step(
  db: Queryable,
  holder: Holder,
  window: Window,
  next: { afterSeq: bigint; attempts: number; lastError: string | null },
): Promise<Window | null> {
  const rows = await db.query<Window>(sql`
    with trimmed as (
      delete from catalog.outbox_cursors where shard = ${window.shard}::smallint and n < ${window.n - cursorsKept}
    )
    insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, first_seq, fresh_seq, last_seq,
                                        after_seq, row_count, attempts, last_error, owner, epoch)
    select c.shard, c.n + 1, c.from_snapshot, c.to_snapshot, c.first_seq, c.fresh_seq, c.last_seq,
           ${next.afterSeq}, c.row_count, ${next.attempts}::int, ${next.lastError}, lease.owner, lease.epoch
    from catalog.outbox_cursors as c
    join catalog.outbox_leases as lease
      on lease.shard = c.shard and lease.owner = ${holder.owner}::uuid and lease.epoch = ${holder.epoch}
    where c.shard = ${window.shard}::smallint and c.n = ${window.n}
    on conflict do nothing
    returning ${columns}`)
  return rows[0] ?? null
}
