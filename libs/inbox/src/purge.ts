import { type Database, type Queryable, type Sql, raw, sql } from '@likewise/database'
import { Failure, type Logger, type Telemetry, pause, repeat } from '@likewise/service'
import { horizonDaysMax } from './handle-once.ts'

/** The ring of metrics.event_handled: a slot is the ids of one day, by their own time, and comes again after so many. */
export const ringDays = 34

/**
 * A slot is emptied when its youngest id is older than this. 30 days are asked for by any consumer, whatever horizon it
 * has itself; one more keeps away from a transaction that judged an id just in time, and from a clock that a failover
 * set back. It must not be two: day d and day d + 34 share a slot, ids may be a day ahead, so 33 days after d the slot
 * may be in use again. That leaves the 32nd day after d, 24 hours, for an hourly purge.
 */
export const keptDays = horizonDaysMax + 1

/** So long a purge may keep others waiting: whoever comes after a waiting TRUNCATE waits behind it. */
const lockWaitMs = 50
const triesMax = 20
const retryMs = 1_000

export interface PurgeOptions {
  stopping?: AbortSignal
  onBusy?: () => void
}

export interface PurgedSlot {
  slot: number
  /** As the statistics have it: counting would read the whole slot. Exact where it had to go row by row. */
  rowsAbout: number
}

/**
 * Empties the slots whose ids can no longer be asked for, by the database's clock and by what is in them: a slot that
 * was missed while nobody purged, or that holds a single younger id, is judged by that too. Any number of processes may
 * do so at the same time. If nobody does, nothing fails: rows just stay.
 */
export async function purgeHandled(
  db: Database,
  { stopping = new AbortController().signal, onBusy = () => undefined }: PurgeOptions = {},
): Promise<PurgedSlot[]> {
  const isOver = (): boolean => stopping.aborted
  const purged: PurgedSlot[] = []
  for (let slot = 0; slot < ringDays && !isOver(); slot += 1) {
    const age = await ageOf(db, slot)
    if (age === 'old but for ids ahead') {
      const rows = await removeOld(db, slot, stopping)
      if (rows > 0) purged.push({ slot, rowsAbout: rows })
    }
    if (age !== 'old') continue
    for (let attempt = 1; !isOver(); attempt += 1) {
      const outcome = await purgeSlot(db, slot)
      if (outcome !== 'busy') {
        if (outcome !== 'kept') purged.push(outcome)
        break
      }
      onBusy()
      if (attempt === triesMax) break
      await pause(retryMs * (0.5 + Math.random()), stopping)
    }
  }
  return purged
}

async function purgeSlot(db: Database, slot: number): Promise<PurgedSlot | 'kept' | 'busy'> {
  try {
    return await db.tx(async (tx) => {
      await tx.execute(sql`set local lock_timeout = ${raw(String(lockWaitMs))}`)
      await tx.execute(sql`lock table ${partitionOf(slot)} in access exclusive mode`)
      // Once more, now that nobody can write: an id may have been committed, or another process was faster.
      if ((await ageOf(tx, slot)) !== 'old') return 'kept'
      const [stats] = await tx.query<{ rows: number }>(sql`
        select n_live_tup::float8 as rows from pg_stat_user_tables
        where schemaname = 'metrics' and relname = ${`event_handled_${String(slot)}`}`)
      await tx.execute(sql`truncate ${partitionOf(slot)}`)
      return { slot, rowsAbout: stats?.rows ?? 0 }
    })
  } catch (error) {
    if (error instanceof Failure && error.code === 'DATABASE_BUSY') return 'busy'
    throw error
  }
}

/**
 * Ids from further ahead than any clock excuses: somebody forced such an event, or gave it up. They stay until their time
 * has passed, be that in the year 10889, and must not keep the other ids of their slot for as long.
 */
const aheadDays = 2
const firstIdAhead = sql`(lpad(to_hex((extract(epoch from clock_timestamp() + ${aheadDays}::float8 * interval '1 day')
  * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid`
const isOld = (id: Sql): Sql =>
  sql`uuid_extract_timestamp(${id}) < clock_timestamp() - ${keptDays}::float8 * interval '1 day'`

type Age = 'empty' | 'in use' | 'old' | 'old but for ids ahead'

/**
 * By the youngest id of each consumer in it, which the index knows: ids of version 7 are in the order of their times.
 * The recursion steps from consumer to consumer, so that it costs the same however many ids there are.
 */
async function ageOf(db: Queryable, slot: number): Promise<Age> {
  const [found] = await db.query<{ isOld: boolean | null; isAhead: boolean | null }>(sql`
    with recursive consumers as (
      (select consumer from ${partitionOf(slot)} order by consumer limit 1)
      union all
      select (select h.consumer from ${partitionOf(slot)} as h where h.consumer > c.consumer order by h.consumer limit 1)
      from consumers as c where c.consumer is not null
    )
    select bool_and(coalesce(${isOld(sql`near.event_id`)}, true)) as "isOld",
           bool_or(youngest.event_id >= ${firstIdAhead}) as "isAhead"
    from consumers cross join lateral (
      select h.event_id from ${partitionOf(slot)} as h where h.consumer = consumers.consumer
      order by h.event_id desc limit 1
    ) as youngest left join lateral (
      select h.event_id from ${partitionOf(slot)} as h
      where h.consumer = consumers.consumer and h.event_id < ${firstIdAhead} order by h.event_id desc limit 1
    ) as near on true`)
  if (found?.isOld == null) return 'empty'
  if (!found.isOld) return 'in use'
  return found.isAhead ? 'old but for ids ahead' : 'old'
}

const removedAtOnceMax = 5_000

/** The rare way: row by row, where a slot cannot be emptied as a whole. */
async function removeOld(db: Queryable, slot: number, stopping: AbortSignal): Promise<number> {
  let removed = 0
  for (let last = { consumer: '', id: '00000000-0000-0000-0000-000000000000' }; !stopping.aborted;) {
    const [step] = await db.query<{ removed: number; consumer: string; id: string }>(sql`
      with looked as materialized (
        select consumer, event_id from ${partitionOf(slot)}
        where (consumer, event_id) > (${last.consumer}, ${last.id}::uuid)
        order by consumer, event_id limit ${removedAtOnceMax}::int for update skip locked
      ), removed as (
        delete from ${partitionOf(slot)} as h using looked
        where h.consumer = looked.consumer and h.event_id = looked.event_id and ${isOld(sql`looked.event_id`)}
        returning 1
      )
      select (select count(*) from removed)::int as removed, consumer, event_id::text as id
      from looked order by looked.consumer desc, looked.event_id desc limit 1`)
    if (!step) break
    removed += step.removed
    last = step
  }
  return removed
}

/** A constant of our own, so it may stand in the statement as it is. */
const partitionOf = (slot: number) => raw(`metrics.event_handled_${String(slot)}`)

export interface HandledKeeperOptions {
  db: Database
  everyMs: number
  log: Logger
  telemetry: Telemetry
}

/** Purges the ring now and then. @returns stop, which waits for the purge under way. */
export function keepHandled({ db, everyMs, log, telemetry }: HandledKeeperOptions): () => Promise<void> {
  const slots = telemetry.counter(
    'likewise_inbox_purged_slots_total',
    'Slots of the ring of handled events that were emptied.',
  )
  const rows = telemetry.counter(
    'likewise_inbox_purged_rows_total',
    'Rows in them, as the statistics have it.',
  )
  const busy = telemetry.counter(
    'likewise_inbox_purge_lock_timeouts_total',
    'Times a slot was in use and was left for later.',
  )
  return repeat(
    async (stopping) => {
      for (const { slot, rowsAbout } of await purgeHandled(db, { stopping, onBusy: () => busy.inc() })) {
        slots.inc()
        rows.inc(rowsAbout)
        log.info({ slot, rowsAbout, keptDays }, 'slot of the handled events purged')
      }
    },
    { pauseMs: () => everyMs * (0.9 + Math.random() / 5), log, failed: 'handled events not purged' },
  )
}
