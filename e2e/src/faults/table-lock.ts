import { type Database, raw, sql } from '@likewise/database'
import { openTx } from '@likewise/database/testing'
import { eventually } from '../system.ts'

type Service = 'like-api' | 'outbox-relay' | 'metrics-consumer' | 'cli'

/** Keeps whoever writes to a table waiting, in the middle of its statement. */
export interface TableLock {
  /** Waits until the service is in the middle of such a statement; @returns its backends. */
  waiting(): Promise<number[]>
  /** The statements that wait go on, also those whose process is gone. */
  release(): Promise<void>
}

/** Every step of a cursor waits. */
export const lockCursors = (db: Database): Promise<TableLock> =>
  lockTable(db, 'catalog.outbox_cursors', 'outbox-relay')

/**
 * The effects of every batch wait. Of a large one the ids are remembered and the mark has moved, nothing is committed; the one
 * statement of a small one has not begun.
 */
export const lockEffects = (db: Database): Promise<TableLock> =>
  lockTable(db, 'metrics.product_metrics', 'metrics-consumer')

/** Every like waits, in the middle of its transaction: its row is there, its event is not. */
export const lockOutbox = (db: Database): Promise<TableLock> =>
  lockTable(db, 'catalog.outbox_events', 'like-api')

/** Every step of a rebuild waits. */
export const lockRebuild = (db: Database): Promise<TableLock> => lockTable(db, 'metrics.rebuild_ids', 'cli')

/** Every repair waits: its product is put right, nothing is committed. */
export const lockRepairs = (db: Database): Promise<TableLock> => lockTable(db, 'metrics.inbox_audit', 'cli')

async function lockTable(db: Database, table: string, service: Service): Promise<TableLock> {
  const open = await openTx(db)
  await open.tx.execute(sql`lock table ${raw(table)} in share mode`)
  return {
    async waiting() {
      let pids: number[] = []
      await eventually(async () => (pids = await readBackends(db, service, { waiting: true })).length > 0)
      return pids
    },
    release: () => open.commit(),
  }
}

/** A service's connections to this database; `waiting`: those that wait for a lock. */
export async function readBackends(
  db: Database,
  service: Service,
  { waiting = false } = {},
): Promise<number[]> {
  const rows = await db.query<{ pid: number }>(sql`
    select pid from pg_stat_activity
    where datname = current_database() and application_name = ${`likewise-${service}`}
      and (not ${waiting}::boolean or wait_event_type = 'Lock')`)
  return rows.map(({ pid }) => pid)
}

/** Ends all connections of a service to this database, as a failover or an impatient administrator would. */
export async function terminate(db: Database, service: Service): Promise<number> {
  const rows = await db.query(sql`
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = ${`likewise-${service}`}`)
  return rows.length
}
