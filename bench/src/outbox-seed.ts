import { type Database, sql } from '@likewise/database'
import { LikeAdded, aggregateType, topics } from '@likewise/events'
import { enqueueRows } from '@likewise/outbox'
import { productCount } from './records.ts'

/** Of every part that drains one. */
export const backlogEvents = 100_000

const defaultRowsPerTransaction = 10_000

export interface Backlog {
  readonly events: number
  readonly shards: readonly { shard: number; firstSeq: bigint; lastSeq: bigint }[]
}

/** The newest cursor of each shard: the last seq that is published. */
export type Cursors = ReadonlyMap<number, bigint>

/** Leaves a backlog as likes would: the same columns as like-api writes, from SQL, in several transactions. */
export async function seedBacklog(
  db: Database,
  events: number,
  rowsPerTransaction = defaultRowsPerTransaction,
): Promise<Backlog> {
  const [before] = await db.query<{ seq: bigint }>(
    sql`select coalesce(max(seq), 0) + 1 as seq from catalog.outbox_events`,
  )
  for (let at = 0; at < events; at += rowsPerTransaction) {
    await insertRows(db, at + 1, Math.min(events, at + rowsPerTransaction))
  }
  const shards = await db.query<Backlog['shards'][number]>(sql`
    select shard::int as shard, min(seq) as "firstSeq", max(seq) as "lastSeq" from catalog.outbox_events
    where seq >= ${before?.seq ?? 1n} group by shard`)
  return { events, shards }
}

export const hasBegun = ({ shards }: Backlog, cursors: Cursors): boolean =>
  shards.some(({ shard, firstSeq }) => (cursors.get(shard) ?? 0n) >= firstSeq)

export const isPublished = ({ shards }: Backlog, cursors: Cursors): boolean =>
  shards.every(({ shard, lastSeq }) => (cursors.get(shard) ?? 0n) >= lastSeq)

/**
 * Steps every cursor to now, as if relays had published everything. No relay may run, and no writer: the rows of a
 * transaction that is open would count as not published.
 */
export async function markPublished(db: Database): Promise<void> {
  await db.execute(sql`
    insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, last_seq, after_seq, epoch)
    select shard, max(n) + 1, pg_current_snapshot(), pg_current_snapshot(), 0, 0, 0
    from catalog.outbox_cursors group by shard`)
}

/** An outbox as after a purge, whatever an earlier part has left. No relay may run. */
export async function emptyOutbox(db: Database): Promise<void> {
  await markPublished(db)
  await db.execute(sql`truncate catalog.outbox_events`)
}

/** outbox_shard is worked out once per product: it is PL/pgSQL and would be most of the time. */
async function insertRows(db: Database, first: number, last: number): Promise<void> {
  const likes = sql`
    with products as materialized (
      select id, id::text as key, catalog.outbox_shard(id::text) as shard
      from generate_series(1, ${productCount}::int) as id
    )
    select shard, uuidv7(), ${aggregateType}, key, ${LikeAdded.properties.type.const}, ${topics.catalogEvents}, key,
           format('{"userId":%s,"productId":%s,"createdAt":"%s"}', user_id, key,
                  to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::json,
           null::text, null::json, now()
    from generate_series(${first}::int, ${last}::int) as user_id
    join products on products.id = user_id % ${productCount}::int + 1
    order by user_id`
  await db.execute(enqueueRows(likes))
}

/** How many events of the backlog lie behind these cursors. */
export async function countPublished(db: Database, { shards }: Backlog, cursors: Cursors): Promise<number> {
  const [row] = await db.query<{ count: bigint }>(sql`
    select count(*) as count
    from unnest(${shards.map(({ shard }) => shard)}::smallint[], ${shards.map(({ firstSeq }) => firstSeq)}::bigint[],
                ${shards.map(({ shard }) => cursors.get(shard) ?? 0n)}::bigint[]) as done(shard, first_seq, after_seq)
    join catalog.outbox_events as e
      on e.shard = done.shard and e.seq between done.first_seq and done.after_seq`)
  return Number(row?.count ?? 0n)
}

/** Twelve index look-ups, cheap enough to ask every few milliseconds. */
export async function readCursors(db: Database): Promise<Cursors> {
  const rows = await db.query<{ shard: number; afterSeq: bigint }>(sql`
    select lease.shard::int as shard, cursor.after_seq as "afterSeq"
    from catalog.outbox_leases as lease
    cross join lateral (
      select after_seq from catalog.outbox_cursors as c where c.shard = lease.shard order by n desc limit 1
    ) as cursor`)
  return new Map(rows.map((row) => [row.shard, row.afterSeq]))
}
