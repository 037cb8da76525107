import { type Tx, sql } from '@likewise/database'
import type { DeadLetter } from './letter.ts'

export interface Resolution {
  readonly as: 'redriven' | 'discarded'
  /** Who asks; written to metrics.inbox_audit with the time. */
  readonly actor: string
  readonly note?: string
}

const keyShownMax = 100

/** Ends letters, and writes down who did it. Their rows stay: a replay must not park them again. */
export async function resolve(
  tx: Tx,
  letters: readonly DeadLetter[],
  { as, actor, note = '' }: Resolution,
): Promise<void> {
  if (letters.length === 0) return
  await tx.execute(sql`
    with resolved as (
      update metrics.dead_letters set resolved_at = now(), resolution = ${as}
      where id = any (${letters.map(({ id }) => id)}::bigint[]) and resolved_at is null
      returning id, consumer, event_id, record_key, reason, detail
    )
    insert into metrics.inbox_audit (actor, action, consumer, dead_letter_id, event_id, record_key, detail)
    select ${actor}, ${as === 'redriven' ? 'redrive' : 'discard'}, consumer, id, event_id,
           left(record_key, ${keyShownMax}::int), ${note} || reason || ': ' || detail
    from resolved order by id`)
}

const detailLengthMax = 800

/** Keeps why a letter could not be applied this time either: it is the reason for which its key waits now. */
export async function keepFailure(tx: Tx, { id }: DeadLetter, error: Error): Promise<string> {
  const detail = storable(error.message).slice(0, detailLengthMax) || error.name
  await tx.execute(sql`
    update metrics.dead_letters set reason = case when blocks_key then 'failed' else reason end, detail = ${detail},
      attempts = attempts + 1
    where id = ${id}`)
  return detail
}

/** One line, without what a log line or a PostgreSQL text cannot hold. */
const storable = (text: string): string =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ').replace(/\p{Surrogate}/gu, '\uFFFD').trim() // prettier-ignore
