import { type Queryable, type Sql, empty, sql } from '@likewise/database'
import { LikeAdded, LikeRemoved, aggregateType, shardOf, topics } from '@likewise/events'
import { enqueueRows } from '@likewise/outbox'
import { Failure } from '@likewise/service'
import { isKeyInFlight, readKeys, rememberKeys } from './idempotency-keys.ts'
import type { Write, WriteResult } from './write.ts'

/**
 * Carries out likes and unlikes with their events in one statement, hence in one transaction. No (user, product) and no
 * Idempotency-Key of a user may be in it twice.
 *
 * The rows of likes come first: their locks put the events of one (user, product) in commit order. Locks are taken in
 * one order, inserts before deletes and each sorted, so that batches of two processes wait for each other instead of
 * deadlocking; those to delete are locked by a `select … for update` of their own, since a delete takes its locks in
 * whatever order its plan finds them. `lockWaitMs` holds for this transaction's rows, and needs no statement of its own; a lock on a whole
 * table is asked for before the statement runs, with the connection's lock_timeout.
 *
 * @returns the results, in the order given.
 */
export async function writeBatch(
  db: Queryable,
  writes: readonly Write[],
  lockWaitMs: number,
): Promise<WriteResult[]> {
  const isKeyed = writes.some(({ idempotencyKey }) => idempotencyKey !== undefined)
  let rows: Answered[]
  try {
    rows = await db.query<Answered>(statementOf(writes, { lockWaitMs, isKeyed }))
  } catch (error) {
    throw writes.length === 1 && isKeyInFlight(error) ? keyInFlight() : error
  }
  const answered = new Map(rows.map((row) => [row.place, row]))
  return writes.map(({ productId }, i) => {
    const row = answered.get(i + 1)
    if (row && row.productId !== null && Number(row.productId) !== productId) return 'key reused'
    return { changed: row?.changed ?? false }
  })
}

export const keyInFlight = (): Failure =>
  new Failure('IDEMPOTENCY_KEY_IN_FLIGHT', 'The first request with this Idempotency-Key is not finished yet.')

interface Answered {
  /** From 1. */
  place: number
  changed: boolean
  /** Set where the Idempotency-Key was there before: the product it stands for. */
  productId: bigint | null
}

function statementOf(
  writes: readonly Write[],
  { lockWaitMs, isKeyed }: { lockWaitMs: number; isKeyed: boolean },
): Sql {
  return sql`
    with wanted as materialized (
      select w.* from (select set_config('lock_timeout', ${String(lockWaitMs)}, true)) as lock_wait,
        unnest(${writes.map(({ userId }) => userId)}::bigint[], ${writes.map(({ productId }) => productId)}::bigint[],
               ${writes.map(({ liked }) => liked)}::boolean[],
               ${writes.map(({ productId }) => shardOf(String(productId)))}::smallint[],
               ${writes.map(({ traceparent }) => traceparent ?? null)}::text[]
               ${isKeyed ? sql`, ${writes.map((write) => write.idempotencyKey ?? null)}::text[]` : empty})
          with ordinality as w(user_id, product_id, liked, shard, traceparent${isKeyed ? sql`, key` : empty}, place)
    ), ${isKeyed ? readKeys : sql`fresh as (select * from wanted)`}, added as (
      insert into catalog.likes (user_id, product_id)
      select user_id, product_id from fresh where liked order by user_id, product_id
      on conflict do nothing
      returning user_id, product_id, created_at
    ), found as materialized (
      select l.ctid as at
      from (select user_id, product_id from fresh where not liked order by user_id, product_id) as w
      cross join lateral (
        select ctid from catalog.likes
        where user_id = w.user_id and product_id = w.product_id for update
      ) as l
    ), removed as (
      delete from catalog.likes as l using found where l.ctid = found.at
      returning l.user_id, l.product_id, now() as created_at
    ), changed as (
      select w.place, w.shard, w.liked, w.traceparent, c.* from fresh as w
      join (select * from added union all select * from removed) as c using (user_id, product_id)
    ), events as (${eventsOfChanged})
    ${isKeyed ? answersWithKeys : sql`select place::int, true as changed, null::bigint as "productId" from changed`}`
}

/** The outbox rows. createdAt is the database's now(), to the microsecond. */
const eventsOfChanged = enqueueRows(sql`
  select shard, uuidv7(), ${aggregateType}, product_id::text,
         case when liked then ${LikeAdded.properties.type.const} else ${LikeRemoved.properties.type.const} end,
         ${topics.catalogEvents}, product_id::text,
         format('{"userId":%s,"productId":%s,"createdAt":"%s"}', user_id, product_id,
                to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::json,
         traceparent, null::json, created_at
  from changed order by place`)

const answersWithKeys = sql`, ${rememberKeys}
  select place::int, true as changed, null::bigint as "productId" from changed
  union all select place::int, changed, product_id from prior`
