import { type Queryable, type Sql, sql } from '@likewise/database'
import { freshRows, heldCursors, lateRows } from './cursors.ts'
import { type OutboxEvent, type Row, eventColumns, eventOf, rowBytesOf } from './page.ts'

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
  readonly epoch: bigint
  /** Some of the shard's events are parked, or some of the window's were discarded. */
  readonly holdsBack: boolean
  /** All that is left of a small window; null: it is to be read page by page. */
  readonly events: readonly OutboxEvent[] | null
}

/** Who moves the cursor: an owner is one process start, an epoch one ownership of one shard. */
export interface Holder {
  readonly owner: string
  readonly epoch: bigint
}

export const isDone = (window: Window): boolean => window.afterSeq >= window.lastSeq

export const windowColumns = sql`shard::int as shard, n, from_snapshot::text as "fromSnapshot", to_snapshot::text as "toSnapshot",
  fresh_seq as "freshSeq", last_seq as "lastSeq", after_seq as "afterSeq", row_count as "rowCount", attempts`

const holdsBack = sql`(
    exists (select from catalog.outbox_parked as p where p.shard = cursor.shard and p.resolved_at is null) or
    exists (select from catalog.outbox_parked as p where p.shard = cursor.shard and p.resolution = 'discarded'
            and p.seq > cursor.after_seq and p.seq <= cursor.last_seq)
  ) as "holdsBack"`

/** A shard's newest cursor. */
export async function readCursor(db: Queryable, shard: number): Promise<Window> {
  const [cursor] = await db.query<Window>(sql`
    select ${windowColumns} from catalog.outbox_cursors where shard = ${shard}::smallint order by n desc limit 1`)
  if (!cursor)
    throw new Error(`Shard ${String(shard)} has no cursor: rows of catalog.outbox_cursors were removed.`)
  return cursor
}

/**
 * The windows to work on: of each shard held, the one that is not finished yet, else the next one, opened here. Shards
 * without new rows get none.
 *
 * Opening: from = the stored `to`, to = this statement's own snapshot. Nothing of a window may be sent before its opening
 * has committed: that commit is flushed (synchronous_commit = on), hence so is every row it saw, even one written with
 * synchronous_commit = off. So `db` must not be a transaction; events that come along are handed over with the
 * statement's end, which PostgreSQL tells after its commit.
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
  small: SmallWindow = { rowsMax: 0, bytesMax: 0 },
): Promise<OpenedWindow[]> {
  const rows = await db.query<WindowRow>(sql`
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
        select min(seq) as first_seq, max(seq) as last_seq, count(*) as row_count
        from ${freshRows(sql`newest.shard`, { from: sql`newest.to_snapshot`, to: sql`pg_current_snapshot()` })} as rows
      ) as fresh
      cross join lateral (
        select min(seq) as first_seq, max(seq) as last_seq, count(*) as row_count
        from ${lateRows(sql`newest.shard`, sql`newest.to_snapshot`)} as rows
      ) as late
      where newest.after_seq >= newest.last_seq and fresh.row_count + late.row_count > 0
        and pg_snapshot_xmax(pg_current_snapshot()) >= pg_snapshot_xmax(newest.to_snapshot) -- or see checkIdentity
      order by newest.shard
      on conflict do nothing
      returning *
    ), work as (
      select ${windowColumns}, epoch, ${holdsBack} from opened as cursor
      union all
      select ${windowColumns}, held_epoch, ${holdsBack} from newest as cursor where after_seq < last_seq
    )
    select work.*, found.* from work left join lateral ${eventsOfSmall(small)} as found on true
    order by work.shard, found.seq`)
  return windowsOf(rows)
}

type WindowColumns = Omit<OpenedWindow, 'events'>
type WindowRow = WindowColumns & (Row | { seq: null })

/** Up to how much of one window comes along with its opening. */
export interface SmallWindow {
  readonly rowsMax: number
  /** About, see `rowBytesOf`. */
  readonly bytesMax: number
}

/**
 * The events of a small window, by xid (see `readPage`), all of them or none. The snapshot they are looked for with is null
 * where the window is not small, which ends each scan before it begins.
 */
const eventsOfSmall = ({ rowsMax, bytesMax }: SmallWindow): Sql => sql`(
      select ${eventColumns} from (
        select e.*, sum(${rowBytesOf}) over () as bytes
        from (
          select case when work."rowCount" <= ${rowsMax}::int and work."fromSnapshot" <> '1:1:'
                      then work."fromSnapshot"::pg_snapshot end as "from"
        ) as small
        cross join lateral (
          select * from ${freshRows(sql`work.shard`, { from: sql`small."from"`, to: sql`work."toSnapshot"::pg_snapshot` })} as rows
          union all
          select * from ${lateRows(sql`work.shard`, sql`small."from"`)} as rows
        ) as e
        where e.seq > work."afterSeq" and pg_visible_in_snapshot(e.xid, work."toSnapshot"::pg_snapshot)
      ) as sized
      where bytes <= ${bytesMax}::int
    )`

function windowsOf(rows: readonly WindowRow[]): OpenedWindow[] {
  const windows: (WindowColumns & { events: OutboxEvent[] | null })[] = []
  for (const row of rows) {
    const { shard, n, fromSnapshot, toSnapshot, freshSeq, lastSeq, afterSeq, rowCount, attempts, ...more } =
      row
    const { epoch, holdsBack, ...event } = more
    if (windows.at(-1)?.shard !== shard) {
      const window = { shard, n, fromSnapshot, toSnapshot, freshSeq, lastSeq, afterSeq, rowCount, attempts }
      windows.push({ ...window, epoch, holdsBack, events: null })
    }
    const window = windows.at(-1)
    if (window && event.seq !== null) (window.events ??= []).push(eventOf(event))
  }
  return windows
}
