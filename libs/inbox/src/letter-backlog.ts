import { type Queryable, sql } from '@likewise/database'
import { countDeadLetters } from './dead-letters.ts'

export interface LetterBacklog {
  /** Unresolved, by reason. */
  readonly byReason: Readonly<Record<string, number>>
  /** Keys whose later events wait. */
  readonly keys: number
  /** Not yet on the dead-letter topic. */
  readonly uncopied: number
  readonly oldestUncopiedAgeMs: number | null
}

/** How many dead letters wait, for a decision or for their copy. Costs as much as there are. */
export async function readLetterBacklog(db: Queryable, consumer: string): Promise<LetterBacklog> {
  const reasons = await countDeadLetters(db, consumer)
  const [held] = await db.query<{ keys: number }>(sql`
    select count(distinct (topic, record_key))::float8 as keys from metrics.dead_letters
    where consumer = ${consumer} and resolved_at is null and blocks_key`)
  const [copy] = await db.query<{ uncopied: number; age: number | null }>(sql`
    select count(*)::float8 as uncopied,
           (extract(epoch from clock_timestamp() - min(parked_at)) * 1000)::float8 as age
    from metrics.dead_letters where consumer = ${consumer} and copied_at is null`)
  return {
    byReason: Object.fromEntries(reasons.map(({ reason, count }) => [reason, Number(count)])),
    keys: held?.keys ?? 0,
    uncopied: copy?.uncopied ?? 0,
    oldestUncopiedAgeMs: copy?.age ?? null,
  }
}
