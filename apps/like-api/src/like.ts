import { type Queryable, sql } from '@likewise/database'
import { LikeAdded, LikeRemoved, aggregateType, shardOf, topics } from '@likewise/events'
import { enqueueRows } from '@likewise/outbox'

export interface LikeKey {
  readonly userId: number
  readonly productId: number
}

/**
 * Adds a like and its event in one statement, hence in one transaction. The like row comes first: its lock puts the
 * events of one (user, product) in commit order.
 *
 * @returns false when the like was already there; then nothing is written.
 */
export async function addLike(db: Queryable, like: LikeKey, traceparent: string | null): Promise<boolean> {
  const rows = await db.execute(sql`
    with changed as (
      insert into catalog.likes (user_id, product_id) values (${like.userId}, ${like.productId})
      on conflict do nothing
      returning user_id, product_id, created_at
    )
    ${eventsOf(LikeAdded.properties.type.const, like, traceparent)}`)
  return rows > 0
}

/** Removes a like, with its event. @returns false when there was none. */
export async function removeLike(db: Queryable, like: LikeKey, traceparent: string | null): Promise<boolean> {
  const rows = await db.execute(sql`
    with changed as (
      delete from catalog.likes where user_id = ${like.userId} and product_id = ${like.productId}
      returning user_id, product_id, now() as created_at
    )
    ${eventsOf(LikeRemoved.properties.type.const, like, traceparent)}`)
  return rows > 0
}

/** The outbox rows for `changed`. createdAt is the database's now(), to the microsecond. */
function eventsOf(eventType: string, { productId }: LikeKey, traceparent: string | null) {
  const key = String(productId)
  return enqueueRows(sql`
    select ${shardOf(key)}::smallint, uuidv7(), ${aggregateType}, product_id::text, ${eventType},
           ${topics.catalogEvents}, product_id::text,
           format('{"userId":%s,"productId":%s,"createdAt":"%s"}', user_id, product_id,
                  to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::json,
           ${traceparent}::text, null::json, created_at
    from changed`)
}
