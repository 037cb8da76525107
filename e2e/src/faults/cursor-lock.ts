import { type Database, sql } from '@likewise/database'
import { openTx } from '@likewise/database/testing'
import { eventually } from '../system.ts'

/** Keeps every step of a cursor waiting, in the middle of its statement. */
export interface CursorLock {
  /** Waits until a relay is in the middle of a step; @returns its backends. */
  waiting(): Promise<number[]>
  /** The steps that wait go on, also those whose relay is gone. */
  release(): Promise<void>
}

export async function lockCursors(db: Database): Promise<CursorLock> {
  const open = await openTx(db)
  await open.tx.execute(sql`lock table catalog.outbox_cursors in share mode`)
  return {
    async waiting() {
      let pids: number[] = []
      await eventually(async () => (pids = await readWaiting(db)).length > 0)
      return pids
    },
    release: () => open.commit(),
  }
}

async function readWaiting(db: Database): Promise<number[]> {
  const rows = await db.query<{ pid: number }>(sql`
    select pid from pg_stat_activity
    where datname = current_database() and application_name = 'likewise-outbox-relay' and wait_event_type = 'Lock'`)
  return rows.map(({ pid }) => pid)
}

/** Ends all connections of relays to this database, as a failover or an impatient administrator would. */
export async function terminateRelays(db: Database): Promise<number> {
  const rows = await db.query(sql`
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = 'likewise-outbox-relay'`)
  return rows.length
}
