import { type Queryable, type Sql, sql } from '@likewise/database'
import type { StoredEvent } from '@likewise/events'
import type { Window } from './window.ts'

/** An outbox row on its way to the broker. */
export interface OutboxEvent extends StoredEvent {
  readonly topic: string
}

export interface PageLimits {
  readonly pageRowsMax: number
  /** About what goes to the broker: payload, headers, keys and `rowBytes` for each event. */
  readonly pageBytesMax: number
}

/** An event as it is stored; `eventOf` makes it one. */
export interface Row {
  seq: bigint
  id: string
  eventType: string
  aggregateId: string
  topic: string
  partitionKey: string
  payload: string
  traceparent: string | null
  headers: string | null
  createdAt: string
}

/** What a record has on the wire beside its payload, own headers and key: CloudEvents headers (320 bytes) and framing. */
const rowBytes = 450

/**
 * About what a row has on the wire, without reading a payload that lies out of line: its stored size, four times where it is
 * compressed (what JSON usually gives).
 */
export const rowBytesOf = sql`(
    pg_column_size(payload) * case when pg_column_compression(payload) is null then 1 else 4 end
    + coalesce(pg_column_size(headers), 0) + 2 * octet_length(partition_key) + ${rowBytes}::int)`

/**
 * The first of these rows, at least one: a page of a few hundred events of a megabyte each is cut before it is in anybody's
 * memory. `cutToBytes` is the exact cut.
 */
export const firstBytes = (rows: Sql, bytesMax: number): Sql => sql`(
    select * from (
      select page.*, ${rowBytesOf} as own_bytes, sum(${rowBytesOf}) over (order by seq) as bytes from (${rows}) as page
    ) as sized where bytes <= ${bytesMax}::int or bytes = own_bytes
  ) as cut`

const stored = sql`seq, id, event_type, aggregate_id, topic, partition_key, payload, traceparent, headers, created_at`

export const eventColumns = sql`seq, id::text as id, event_type as "eventType", aggregate_id as "aggregateId", topic,
  partition_key as "partitionKey", payload::text as payload, traceparent, headers::text as headers,
  to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "createdAt"`

/**
 * The next rows of a window behind `afterSeq`, in seq order.
 *
 * Two ways to read, because a window is one of two things. A *small* one (it fits a page) is found by xid: cheap
 * wherever its rows lie, also when one of them drew its seq long ago. A *large* one (a backlog) is walked along the
 * primary key from its first fresh row; fetching it by xid would sort the whole window again for each page (15 times
 * slower with 200,000 rows). Rows of transactions that were open at `from` may lie far back: always by xid, a page of each
 * transaction, so that an import of a million rows in one transaction is paged by the index as well.
 *
 * The planner must not mix the two up: `offset 0` keeps it from walking the primary key where rows come by xid, and
 * the visibility functions, opaque to it, from using the xid index in the walk.
 */
export async function readPage(
  db: Queryable,
  window: Window,
  afterSeq: bigint,
  limits: PageLimits,
): Promise<OutboxEvent[]> {
  // The first window of a shard, and a republish, see everything before as theirs: by xid that would be the whole table.
  const small = window.rowCount <= BigInt(limits.pageRowsMax) && window.fromSnapshot !== '1:1:'
  const freshSeq = window.freshSeq ?? window.lastSeq + 1n
  // A walk from freshSeq meets late rows as well; by xid they are then only wanted below it, and soon not at all.
  const lateWanted = !hasNoLateRows(window) && (small || afterSeq < freshSeq - 1n)
  const late = sql`unnest(array(select pg_snapshot_xip(${window.fromSnapshot}::pg_snapshot))) as late(top_xid)
    cross join lateral (
      select * from catalog.outbox_events
      where shard = ${window.shard}::smallint and xid = late.top_xid
        and seq > ${afterSeq} and seq < ${small ? window.lastSeq + 1n : freshSeq}
      order by seq limit ${limits.pageRowsMax}
    ) as found where true`
  const fresh = small
    ? sql`(select * from catalog.outbox_events where shard = ${window.shard}::smallint
          and xid >= pg_snapshot_xmax(${window.fromSnapshot}::pg_snapshot)
          and xid < pg_snapshot_xmax(${window.toSnapshot}::pg_snapshot) offset 0) as found where seq > ${afterSeq}`
    : sql`catalog.outbox_events where shard = ${window.shard}::smallint
        and seq > ${afterSeq >= freshSeq ? afterSeq : freshSeq - 1n} and seq <= ${window.lastSeq}
        and not pg_visible_in_snapshot(xid, ${window.fromSnapshot}::pg_snapshot)`
  const [visible, limit] = [
    sql`pg_visible_in_snapshot(xid, ${window.toSnapshot}::pg_snapshot)`,
    limits.pageRowsMax,
  ]
  const some = sql`and ${visible} order by seq limit ${limit}`
  const page = lateWanted
    ? sql`(select ${stored} from ${fresh} ${some}) union all (select ${stored} from ${late} ${some})
          order by seq limit ${limit}`
    : sql`select * from ${fresh} ${some}`
  const rows = await db.query<Row>(
    sql`select ${eventColumns} from ${firstBytes(page, limits.pageBytesMax)} order by seq`,
  )
  return cutToBytes(rows, limits.pageBytesMax).map(eventOf)
}

/**
 * A snapshot is `xmin:xmax:xip`; with nothing in xip no transaction was open at `from`. That is known here, and spares
 * the planner half of the ring's partitions: planning was two thirds of what a page of a few rows cost.
 */
const hasNoLateRows = ({ fromSnapshot }: Window): boolean => fromSnapshot.endsWith(':')

/** At least one row, so that an event larger than the limit still gets its turn (and the broker's answer). */
export function cutToBytes<R extends Row>(rows: readonly R[], bytesMax: number): readonly R[] {
  let bytes = 0
  const end = rows.findIndex((row) => (bytes += wireBytes(row)) > bytesMax)
  return end === -1 ? rows : rows.slice(0, Math.max(1, end))
}

function wireBytes({ payload, headers, partitionKey }: Row): number {
  return Buffer.byteLength(payload) + Buffer.byteLength(headers ?? '') + 2 * partitionKey.length + rowBytes
}

export function eventOf(row: Row): OutboxEvent {
  return {
    ...row,
    seq: String(row.seq),
    headers: row.headers === null ? null : (JSON.parse(row.headers) as Record<string, string>),
  }
}
