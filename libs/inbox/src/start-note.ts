import { type Queryable, sql } from '@likewise/database'
import type { Scope } from './offsets.ts'
import type { Start } from './start.ts'

/** What was begun at the mark and not finished. Read under the mark's lock, so nobody is at it now. */
export async function readStart(tx: Queryable, { consumer, topic, partition }: Scope): Promise<Start | null> {
  const [noted] = await tx.query<Start>(sql`
    select started_offset as from, started_end as to, starts from metrics.consumer_offsets
    where consumer = ${consumer} and topic = ${topic} and partition = ${partition}::int
      and started_offset >= next_offset and starts > 0`)
  return noted ?? null
}

/** Written before the records are handled, in a transaction of its own. Moving the mark takes it away. */
export async function noteStart(
  tx: Queryable,
  { consumer, topic, partition }: Scope,
  { from, to, starts }: Start,
): Promise<void> {
  await tx.execute(sql`
    update metrics.consumer_offsets
    set started_offset = ${from}::bigint, started_end = ${to}::bigint, starts = ${starts}::int
    where consumer = ${consumer} and topic = ${topic} and partition = ${partition}::int`)
}

/**
 * Takes a note back: the process that wrote it has lived on, so it says nothing against the record. What others noted
 * before, and died with, stays.
 */
export async function withdrawStart(
  db: Queryable,
  { consumer, topic, partition }: Scope,
  { from, to, starts }: Start,
): Promise<void> {
  await db.execute(sql`
    update metrics.consumer_offsets set starts = starts - 1
    where consumer = ${consumer} and topic = ${topic} and partition = ${partition}::int
      and started_offset = ${from}::bigint and started_end = ${to}::bigint and starts = ${starts}::int`)
}
