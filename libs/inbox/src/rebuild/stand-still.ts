import { type Database, type Tx, sql } from '@likewise/database'
import { type LiveMark, readMarks } from '../offsets.ts'
import type { Rebuild } from './rebuild.ts'

/** Longer than a redrive of a hundred thousand letters, which holds a mark until its end. */
const stillTimeoutMs = 900_000

/**
 * Locks the marks of the live model, brings the rebuilt one to exactly there, and does `then`: batches, redrives and
 * discards wait meanwhile, readers do not. `catchUp` counts what lies before these marks by transactions of its own; all of
 * it is on the topic, so it is a matter of milliseconds where the rebuild was near.
 *
 * @returns 'not yet' where it could not be brought there in time: nothing has happened, and the live model goes on.
 */
export async function standStill<T>(
  db: Database,
  rebuild: Rebuild,
  act: { catchUp: (marks: readonly LiveMark[]) => Promise<boolean>; then: (tx: Tx) => Promise<T> },
): Promise<T | 'not yet'> {
  return db.tx(
    async (tx) => {
      // Rows of all its topics, in the order in which everybody locks them who locks more than one.
      await tx.query(sql`
        select 1 as locked from metrics.consumer_offsets where consumer = ${rebuild.consumer}
        order by topic, partition for update`)
      const marks = await readMarks(tx, rebuild.consumer, rebuild.topic)
      if (!(await act.catchUp(marks))) return 'not yet'
      // Batches wait by now: nobody waits for a dump or a vacuum on top of that. It is tried again.
      await tx.execute(sql`set local lock_timeout = '3s'`)
      return act.then(tx)
    },
    { timeoutMs: stillTimeoutMs },
  )
}

/** Whether both models stand at the same offsets, as this transaction sees them. */
export async function standsEqual(tx: Tx, { consumer, topic }: Rebuild): Promise<boolean> {
  const [apart] = await tx.query<{ partitions: number }>(sql`
    select count(*)::int as partitions
    from (
      select * from metrics.consumer_offsets where consumer = ${consumer} and topic = ${topic}
    ) as live full join metrics.rebuild_offsets as rebuilt on rebuilt.partition = live.partition
    where coalesce(live.next_offset, 0) <> coalesce(rebuilt.next_offset, 0)
       or live.last_event_id <> rebuilt.last_event_id`)
  return apart?.partitions === 0
}
