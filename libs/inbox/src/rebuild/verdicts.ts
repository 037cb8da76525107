import { type Sql, type Tx, arrayOf, sql } from '@likewise/database'
import { type LetterRow, letterBytes, letterColumns, letterOf, pageOf } from '../letter.ts'
import { type Verdict, verdictOf } from './entry.ts'
import type { Rebuild } from './rebuild.ts'

/** Of one that waits the record is not read. */
const bytesRead = sql`case when resolved_at is not null then ${letterBytes} else 0 end`

/**
 * Reads letters by pages, in the order they were parked in. The records of those that wait are not read.
 *
 * @param which what stands behind `from metrics.dead_letters as d`, up to a condition
 */
export async function* readVerdicts(tx: Tx, which: Sql): AsyncGenerator<readonly Verdict[]> {
  for (let last: bigint | undefined = 0n; last !== undefined;) {
    const rows: LetterRow[] = await tx.query<LetterRow>(sql`
      select ${letterColumns}, case when resolved_at is not null then record_value end as value,
             case when resolved_at is not null then record_headers else '{}' end as headers, record_time as "recordTime"
      from ${pageOf(sql`select d.* from metrics.dead_letters as d ${which} and d.id > ${last}`, sql`id`, { bytes: bytesRead })} as letter
      order by id`)
    if (rows.length > 0) yield rows.map((row) => verdictOf(letterOf(row)))
    last = rows.at(-1)?.id
  }
}

/** The letters of these events that were discarded, wherever they lie. */
export async function readDiscarded(
  tx: Tx,
  { consumer, topic }: Pick<Rebuild, 'consumer' | 'topic'>,
  ids: readonly string[],
): Promise<Verdict[]> {
  if (ids.length === 0) return []
  const discarded = sql`
    select id from metrics.dead_letters
    where resolution = 'discarded' and consumer = ${consumer} and topic = ${topic}`
  // Mostly nothing was ever discarded: then thousands of ids need not be sent for it.
  const [found] = await tx.query<{ any: boolean }>(sql`select exists (${discarded}) as any`)
  if (found?.any !== true) return []
  return readVerdictsOf(tx, sql`${discarded} and event_id = any (${arrayOf(ids)}::uuid[])`)
}

/** Those with the ids that a query finds: it is run first, or ordering by id would walk all letters there are. */
export async function readVerdictsOf(tx: Tx, ids: Sql): Promise<Verdict[]> {
  const verdicts: Verdict[] = []
  for await (const one of readVerdicts(tx, sql`where d.id = any (array(${ids}))`)) verdicts.push(...one)
  return verdicts
}
