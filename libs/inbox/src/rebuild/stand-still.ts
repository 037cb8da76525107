import { type Database, type Tx, sql } from '@likewise/database'
import { Failure } from '@likewise/service'
import { type LiveMark, readMarks } from '../offsets.ts'
import type { Rebuild } from './rebuild.ts'

/** Longer than a redrive of a hundred thousand letters, which holds a mark until its end. */
const stillTimeoutMs = 900_000

/** So long batches may wait for what somebody else holds, or for a process that fell asleep with their marks. */
const waitMaxMs = 3_000
const idleMaxMs = 10_000

/**
 * Locks the marks of the live model, brings the rebuilt one to exactly there, and does `then`: batches, redrives and
 * discards wait meanwhile, readers do not. `catchUp` counts what lies before these marks by transactions of its own; all of
 * it is on the topic, so it is a matter of milliseconds where the rebuild was near.
 *
 * @returns 'not yet' where it could not be brought there in time: nothing has happened, and the live model goes on.
 * @throws {Failure} DATABASE_BUSY where somebody holds a mark (a long redrive), with the same outcome.
 */
export async function standStill<T>(
  db: Database,
  rebuild: Rebuild,
  act: { catchUp: (marks: readonly LiveMark[]) => Promise<boolean>; then: (tx: Tx) => Promise<T> },
): Promise<T | 'not yet'> {
  return db.tx(
    async (tx) => {
      await setLocally(tx, 'idle_in_transaction_session_timeout', String(idleMaxMs))
      await lockMarks(tx, rebuild)
      const marks = await readMarks(tx, rebuild.consumer, rebuild.topic)
      if (!(await act.catchUp(marks))) return 'not yet'
      // Batches wait by now: nobody waits for a dump or a vacuum on top of that. It is tried again.
      await waitBriefly(tx)
      return act.then(tx)
    },
    { timeoutMs: stillTimeoutMs },
  )
}

/** The transaction gives up where somebody else holds what it needs. */
export const waitBriefly = (tx: Tx): Promise<unknown> => setLocally(tx, 'lock_timeout', String(waitMaxMs))

const setLocally = (tx: Tx, name: string, value: string): Promise<unknown> =>
  tx.query(sql`select set_config(${name}, ${value}, true) as set`)

/** All of them within one limit: while one is waited for, the batches of those before it wait, too. */
async function lockMarks(tx: Tx, { consumer }: Rebuild): Promise<void> {
  const limit = 'statement_timeout'
  const [before] = await tx.query<{ limit: string }>(sql`select current_setting(${limit}) as limit`)
  await setLocally(tx, limit, String(waitMaxMs))
  try {
    // Rows of all its topics, in the order in which everybody locks them who locks more than one.
    await tx.query(sql`
      select 1 as locked from metrics.consumer_offsets where consumer = ${consumer}
      order by topic, partition for update`)
  } catch (error) {
    if (!(error instanceof Failure && error.code === 'DATABASE_BUSY')) throw error
    const sentence = `A partition of ${consumer} is held for longer than ${String(waitMaxMs / 1_000)} s, by a redrive of many letters or a slow batch. No batch waits for it meanwhile, and it is tried again.`
    throw new Failure('DATABASE_BUSY', sentence, { cause: error })
  }
  await setLocally(tx, limit, before?.limit ?? '0')
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
