import { type Queryable, type Sql, arrayOf, empty, sql } from '@likewise/database'
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
  let answered: Answered[]
  try {
    answered = await db.query<Answered>(statementOf(writes, { lockWaitMs, isKeyed }))
  } catch (error) {
    throw writes.length === 1 && isKeyInFlight(error) ? keyInFlight() : error
  }
  const [{ changed, prior }] = answered as [Answered]
  const changedPlaces = new Set(changed?.split(',').map(Number))
  const priorAt = new Map(prior?.map((found) => [found.place, found]))
  return writes.map(({ productId }, i) => {
    const before = priorAt.get(i + 1)
    if (before && before.productId !== productId) return 'key reused'
    return { changed: before?.changed ?? changedPlaces.has(i + 1) }
  })
}

export const keyInFlight = (): Failure =>
  new Failure('IDEMPOTENCY_KEY_IN_FLIGHT', 'The first request with this Idempotency-Key is not finished yet.')

/** One row, since Prisma turns every value of a row over several times. Places are from 1. */
interface Answered {
  /** The places of those that changed something, with commas between them; null: none did. */
  changed: string | null
  /** Whose Idempotency-Key was there before, with the product it stands for. */
  prior: { place: number; changed: boolean; productId: number }[] | null
}

function statementOf(
  writes: readonly Write[],
  { lockWaitMs, isKeyed }: { lockWaitMs: number; isKeyed: boolean },
): Sql {
  return sql`
    with wanted as materialized (
      select w.* from (select set_config('lock_timeout', ${String(lockWaitMs)}, true)) as lock_wait,
        unnest(${arrayOf(writes.map(({ userId }) => userId))}::bigint[],
               ${arrayOf(writes.map(({ productId }) => productId))}::bigint[],
               ${arrayOf(writes.map(({ liked }) => liked))}::boolean[],
               ${arrayOf(writes.map(({ productId }) => shardOf(String(productId))))}::smallint[],
               ${arrayOf(writes.map(({ traceparent }) => traceparent ?? null))}::text[]
               ${isKeyed ? sql`, ${arrayOf(writes.map((write) => write.idempotencyKey ?? null))}::text[]` : empty})
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
    ${isKeyed ? sql`, ${rememberKeys}` : empty}
    select (select string_agg(place::text, ',') from changed) as changed, ${isKeyed ? priorOfKeys : sql`null`} as prior`
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

const priorOfKeys = sql`(
  select json_agg(json_build_object('place', place, 'changed', changed, 'productId', product_id)) from prior)`
