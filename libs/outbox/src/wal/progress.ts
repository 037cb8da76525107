import { type Queryable, type Sql, lsnText, parseLsn, sql } from '@likewise/database'
import { freshRows, heldCursors, isPastKeeping, lateRows, newestCursors } from '../cursors.ts'
import { publicationOk } from './slot.ts'

/**
 * A snapshot with a position behind every transaction that it sees: once all that was committed below the position is
 * acknowledged, so is every row that is visible in the snapshot.
 */
export interface Mark {
  readonly snapshot: string
  readonly lsn: bigint
}

/**
 * One statement: its snapshot is taken before it begins to run, the position while it runs. A transaction that is
 * visible has written its commit record before, hence below the position.
 *
 * @returns null while the publication is not there: what is committed then is in the WAL, but not in the stream.
 */
export async function takeMark(db: Queryable): Promise<Mark | null> {
  const [row] = await db.query<{ snapshot: string; lsn: string }>(
    sql`select pg_current_snapshot()::text as snapshot, pg_current_wal_insert_lsn()::text as lsn where ${publicationOk}`,
  )
  return row ? { snapshot: row.snapshot, lsn: parseLsn(row.lsn) } : null
}

/**
 * Notes how far the WAL is acknowledged. Before it is confirmed to the slot, never after: a slot that stands beyond
 * what was noted is then one that somebody else has moved or made anew (`slotFault`).
 *
 * @returns false when the outbox is not read from the WAL any more: confirm nothing.
 */
export async function noteAcknowledged(db: Queryable, lsn: bigint): Promise<boolean> {
  const touched = await db.execute(sql`
    update catalog.outbox_meta set wal_lsn = greatest(wal_lsn, ${lsnText(lsn)}::pg_lsn), updated_at = now()
    where mode = 'wal'`)
  return touched === 1
}

/**
 * Moves the poll cursors of the shards held to `snapshot`: everything visible in it is published. So the purge goes on
 * while the WAL is read, and polling can take over at any moment. The caller knows that it is published, see `Mark`.
 *
 * One statement with the compare-and-set of a poll step for every shard: owner, epoch, and the insert of n + 1. It
 * moves no cursor backwards, so a delayed copy does no harm: the snapshot must see all that the newest window's end
 * sees. A window that a poll relay left unfinished is thereby finished.
 *
 * @returns the shards that were moved.
 */
export async function stepCursorsTo(
  db: Queryable,
  owner: string,
  leases: readonly { shard: number; epoch: bigint }[],
  snapshot: string,
): Promise<number[]> {
  if (leases.length === 0) return []
  const rows = await db.query<{ shard: number }>(sql`
    with newest as (
      select * from ${heldCursors(owner, leases)} as cursor
      where exists (select from catalog.outbox_meta where mode = 'wal') and ${isBehind(snapshot)}
    ), trimmed as (
      delete from catalog.outbox_cursors as old using newest
      where old.shard = newest.shard and ${isPastKeeping(sql`old.n`, sql`newest.n`)}
    )
    insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, last_seq, after_seq, owner, epoch)
    select shard, n + 1, ${snapshot}::pg_snapshot, ${snapshot}::pg_snapshot, last_seq, last_seq, holder, held_epoch
    from newest order by shard
    on conflict do nothing
    returning shard::int as shard`)
  return rows.map(({ shard }) => shard).sort((a, b) => a - b)
}

/** Whether no cursor of any shard can be moved to `snapshot` any more: each stands there, or beyond. */
export async function haveReached(db: Queryable, snapshot: string): Promise<boolean> {
  const behind = sql`select from ${newestCursors} as cursor where ${isBehind(snapshot)} limit 1`
  return (await db.query(behind)).length === 0
}

/** The snapshot sees all that the end of the newest window sees, and is another one, or the window is not finished. */
const isBehind = (snapshot: string): Sql => sql`
  pg_snapshot_xmax(${snapshot}::pg_snapshot) >= pg_snapshot_xmax(cursor.to_snapshot)
  and not exists (
    select from pg_snapshot_xip(${snapshot}::pg_snapshot) as open(xid)
    where pg_visible_in_snapshot(open.xid, cursor.to_snapshot)
  )
  and (cursor.to_snapshot::text <> ${snapshot} or cursor.after_seq < cursor.last_seq)`

/**
 * Whether polling has published every row that is visible in `snapshot`. Not whether the cursors have reached it: a
 * shard without new rows opens no window, and its cursor stays where it is.
 */
export async function isPublishedUpTo(db: Queryable, snapshot: string): Promise<boolean> {
  const rows = await db.query(sql`
    select from ${newestCursors} as cursor
    where exists (
      select from (
        select seq, xid from ${freshRows(sql`cursor.shard`, { from: sql`cursor.published_snapshot`, to: sql`${snapshot}::pg_snapshot` })} as rows
        union all
        select seq, xid from ${lateRows(sql`cursor.shard`, sql`cursor.published_snapshot`)} as rows
      ) as since
      where pg_visible_in_snapshot(xid, ${snapshot}::pg_snapshot)
        and not (seq <= cursor.after_seq and pg_visible_in_snapshot(xid, cursor.to_snapshot))
    )
    limit 1`)
  return rows.length === 0
}
