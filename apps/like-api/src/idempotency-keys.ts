import { sql } from '@likewise/database'
import { Failure } from '@likewise/service'

/**
 * Keys lie in a ring of four days (UTC): today, yesterday, the one that may be emptied, and tomorrow. A key is asked for
 * on its own day and on the next, so that it is remembered for at least 24 hours and at most 48.
 */
export const ringDays = 4

export const today = sql`floor(extract(epoch from now()) / 86400)::int`

/**
 * Around midnight two processes may have the same key at the same moment on two days. So a key that comes in the first
 * minute of a day is written down on the day before too, where it meets the other. No statement takes a minute.
 */
const dayOfLastMinute = sql`floor(extract(epoch from now() - interval '1 minute') / 86400)::int`

/**
 * Reads `wanted`, and yields `fresh`: what is without a key, or has one that nobody used before. With `not in`, which is a
 * hash: of `not exists` the planner expects one row, and joins hundreds to hundreds in nested loops.
 */
export const readKeys = sql`
  prior as materialized (
    select w.place, k.product_id, k.changed from wanted as w
    cross join lateral (
      select k.product_id, k.changed from catalog.idempotency_keys as k
      where k.user_id = w.user_id and k.idempotency_key = w.key
        and k.day in (${today}, ${today} - 1) and k.slot in (${today} % ${ringDays}, (${today} - 1) % ${ringDays})
      limit 1
    ) as k
  ), fresh as (
    select * from wanted where place not in (select place from prior)
  )`

/**
 * Writes down what is `fresh`, with what was `changed` by it. Where another process is faster with the same key this is
 * a unique violation, and everything is rolled back: the like must not be there twice under one key.
 */
export const rememberKeys = sql`
  remembered as (
    insert into catalog.idempotency_keys (user_id, idempotency_key, day, slot, product_id, changed)
    select w.user_id, w.key, d.day, d.day % ${ringDays}, w.product_id,
           w.place in (select place from changed)
    from fresh as w cross join (select ${today} union select ${dayOfLastMinute}) as d(day)
    where w.key is not null
    order by w.user_id, w.key, d.day
  )`

/** Whether this says that another process has the key at this moment. */
export function isKeyInFlight(error: unknown): boolean {
  if (!(error instanceof Failure) || error.details?.['sqlstate'] !== '23505') return false
  return String(error.details['constraint']).startsWith('idempotency_keys')
}
