import { type Queryable, sql } from '@likewise/database'
import { Failure, type Logger } from '@likewise/service'
import { newestCursors } from './cursors.ts'
import type { OutboxMode } from './wal/slot.ts'

export interface Checked {
  /** How the outbox is published. */
  readonly mode: OutboxMode
  /** Where it has changed since the last call by any relay. */
  readonly leftTimeline: number | null
}

/**
 * Makes sure that the cursors belong to this database. They hold snapshots, that is transaction ids of one cluster: in
 * another one (restored from a dump, upgraded, replicated logically) new rows may look as if they had been published
 * long ago, and would never be sent. So a cluster with another identity, or one whose transaction ids have not got as
 * far as the cursors', is refused until somebody has run `likewise outbox recover`.
 *
 * The first call writes the identity down. A promoted standby has the same identity, and its cursors came with its rows:
 * a new timeline is only noted. Rejects with OUTBOX_MISMATCH, and with DATABASE_UNAVAILABLE on a standby.
 */
export async function checkIdentity(db: Queryable): Promise<Checked> {
  const { mode, noted, timeline, notedTimeline, fault } = await readIdentity(db)
  if (fault) throw fault
  if (noted === null || notedTimeline !== timeline) await noteIdentity(db)
  return { mode, leftTimeline: notedTimeline !== null && notedTimeline !== timeline ? notedTimeline : null }
}

/** The same without writing anything down. */
export const identityFault = async (db: Queryable): Promise<Failure | null> => (await readIdentity(db)).fault

async function readIdentity(db: Queryable) {
  const [found] = await db.query<{
    isStandby: boolean
    mode: OutboxMode
    here: string
    noted: string | null
    timeline: number
    notedTimeline: number | null
    isBehind: boolean
  }>(sql`
    select pg_is_in_recovery() as "isStandby", meta.mode, (select system_identifier::text from pg_control_system()) as here, meta.system_identifier as noted,
           case when not pg_is_in_recovery() then ${timelineHere} end as timeline, meta.timeline as "notedTimeline",
           exists (
             select from ${newestCursors} as newest
             where pg_snapshot_xmax(to_snapshot) > pg_snapshot_xmax(pg_current_snapshot())
           ) as "isBehind"
    from catalog.outbox_meta as meta`)
  if (!found)
    throw new Failure('DATABASE_NOT_MIGRATED', 'catalog.outbox_meta has no row: run npm run migrate.')
  return { ...found, fault: faultOf(found) }
}

function faultOf(found: {
  isStandby: boolean
  here: string
  noted: string | null
  isBehind: boolean
}): Failure | null {
  const { isStandby, here, noted, isBehind } = found
  // Around a failover a name may point to a standby for a while.
  if (isStandby) return new Failure('DATABASE_UNAVAILABLE', 'PostgreSQL is a standby here; the relay waits.')
  if (noted !== null && noted !== here)
    return mismatch(`its identity is ${here}, and the cursors were written in ${noted}`)
  if (isBehind) return mismatch('its transaction ids have not got as far as those in the cursors')
  return null
}

/** Looks at it again and again, and says it once. */
export function watchIdentity(db: Queryable, log: Logger) {
  let fault: Failure | null = null
  return {
    fault: (): Failure | null => fault,
    /** @returns how the outbox is published, or null where it is not this cluster's. */
    async look(): Promise<OutboxMode | null> {
      try {
        const { mode, leftTimeline } = await checkIdentity(db)
        if (leftTimeline !== null)
          log.warn({ leftTimeline }, 'a standby was promoted; the cursors came with it')
        if (fault !== null) log.info('the outbox belongs to this cluster again')
        fault = null
        return mode
      } catch (error) {
        if (!(error instanceof Failure && error.code === 'OUTBOX_MISMATCH')) throw error
        if (fault === null) log.error({ err: error }, 'nothing is published')
        fault = error
        return null
      }
    },
  }
}

export async function noteIdentity(db: Queryable): Promise<void> {
  await db.execute(sql`
    update catalog.outbox_meta
    set system_identifier = (select system_identifier::text from pg_control_system()), timeline = ${timelineHere},
        updated_at = now()`)
}

// From the WAL file in use: pg_control_checkpoint() tells a promotion only after its first checkpoint.
const timelineHere = sql`('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int`

function mismatch(why: string): Failure {
  return new Failure(
    'OUTBOX_MISMATCH',
    `The outbox does not belong to this PostgreSQL cluster: ${why}. It was restored from a dump, upgraded or copied. ` +
      'Nothing is published until `likewise outbox recover` has set the cursors anew.',
  )
}
