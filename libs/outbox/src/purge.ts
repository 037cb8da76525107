import { type Database, type Queryable, raw, sql } from '@likewise/database'
import { Failure, type Logger, type Telemetry, pause, repeat } from '@likewise/service'
import { audit } from './audit.ts'
import { newestCursors, trimCursors } from './cursors.ts'
import { forgetRelays } from './lease.ts'

/** The ring of catalog.outbox_events: a slot is the rows of one day, and is used again after so many. */
export const ringDays = 10

/** So long a purge may keep others waiting: whoever comes after a waiting TRUNCATE waits behind it. */
const lockWaitMs = 50
// A slot that is in use now is tried again soon; what does not work out within these is for the next hour.
const triesMax = 20
const retryMs = 1_000

/** Rows of so many days stay, at most ringDays - 2: the slot of tomorrow must be empty before tomorrow. */
export const retentionDaysMax = ringDays - 2

export interface PurgeOptions {
  /** Whole days that rows stay in the ring after they were written, 1 to 8. */
  retentionDays: number
  /** Who it is, for catalog.outbox_audit. */
  actor: string
  stopping?: AbortSignal
  onBusy?: () => void
  /** The time by which slots are old; the database's clock unless told. */
  now?: Date
}

export interface PurgedSlot {
  slot: number
  /** As the statistics have it: counting would read the whole slot. */
  rowsAbout: number
}

/**
 * Empties the ring's slots that are older than the retention and published by every shard. A slot that is not, stays:
 * the ring then only grows. Where somebody uses a slot it waits 50 ms for its lock at a time, and tries again later.
 * What was parked and is resolved goes after its events, and with it what is left over of the cursors' logs, and
 * relays that are long gone.
 */
export async function purgeRing(db: Database, options: PurgeOptions): Promise<PurgedSlot[]> {
  const { stopping = new AbortController().signal, onBusy = () => undefined } = options
  const purged: PurgedSlot[] = []
  for (const slot of await readOldSlots(db, options)) {
    for (let attempt = 1; !stopping.aborted; attempt += 1) {
      const outcome = await purgeSlot(db, slot, options)
      if (outcome !== 'busy') {
        if (outcome !== 'kept') purged.push(outcome)
        break
      }
      onBusy()
      if (attempt === triesMax) break
      await pause(retryMs * (0.5 + Math.random()), stopping)
    }
  }
  await trimParked(db, options.actor, stopping)
  await trimCursors(db)
  await forgetRelays(db)
  return purged
}

// 100,000 rows in 20 steps, each a few ten thousand looks into an index: far from any statement timeout.
const trimRowsMax = 5_000

/**
 * Removes resolved rows of outbox_parked whose event the ring holds no longer. While it does, they stay: a republish
 * meets the event, and must not send what was discarded.
 */
async function trimParked(db: Queryable, actor: string, stopping: AbortSignal): Promise<void> {
  let [trimmed, afterSeq]: [number, bigint | null] = [0, 0n]
  while (afterSeq !== null && !stopping.aborted) {
    const [step]: { trimmed: number; last: bigint | null }[] = await db.query(sql`
      with looked as materialized (
        select seq, shard from catalog.outbox_parked
        where resolved_at is not null and seq > ${afterSeq} order by seq limit ${trimRowsMax}
      ), trimmed as (
        delete from catalog.outbox_parked as p using looked
        where p.seq = looked.seq and p.resolved_at is not null
          and not exists (
            -- offset 0: by the index for each row, never by reading the whole ring
            select from catalog.outbox_events as e where e.shard = looked.shard and e.seq = looked.seq offset 0
          )
        returning 1
      )
      select (select count(*) from trimmed)::int as trimmed, (select max(seq) from looked) as last`)
    trimmed += step?.trimmed ?? 0
    afterSeq = step?.last ?? null
  }
  if (trimmed > 0)
    await audit(db, { actor, action: 'purge', detail: `${trimmed} resolved events of outbox_parked` })
}

/** Slots with rows whose day is past the retention, the oldest first. */
async function readOldSlots(db: Queryable, { retentionDays, now }: PurgeOptions): Promise<number[]> {
  const rows = await db.query<{ slot: number }>(sql`
    with today as (
      select floor(extract(epoch from coalesce(${now ?? null}::timestamptz, now())) / 86400)::bigint as day
    )
    select slot from today cross join generate_series(0, ${ringDays - 1}::int) as slot
    where (day - slot) % ${ringDays}::int > ${Math.min(retentionDays, retentionDaysMax)}::int
    order by (day - slot) % ${ringDays}::int desc`)
  const old: number[] = []
  for (const { slot } of rows) {
    const [found] = await db.query(sql`select 1 from ${partitionOf(slot)} limit 1`)
    if (found) old.push(slot)
  }
  return old
}

async function purgeSlot(
  db: Database,
  slot: number,
  options: PurgeOptions,
): Promise<PurgedSlot | 'kept' | 'busy'> {
  if (!(await isPurgeable(db, slot, options))) return 'kept'
  try {
    return await db.tx(async (tx) => {
      await tx.execute(sql`set local lock_timeout = ${raw(String(lockWaitMs))}`)
      await tx.execute(sql`lock table ${partitionOf(slot)} in access exclusive mode`)
      // Once more, now that nobody can write: a row may have been committed in between.
      if (!(await isPurgeable(tx, slot, options))) return 'kept'
      const [stats] = await tx.query<{ rows: number }>(sql`
        select n_live_tup::float8 as rows from pg_stat_user_tables
        where schemaname = 'catalog' and relname = ${`outbox_events_${String(slot)}`}`)
      await tx.execute(sql`truncate ${partitionOf(slot)}`)
      const rowsAbout = stats?.rows ?? 0
      await audit(tx, {
        actor: options.actor,
        action: 'purge',
        detail: `slot ${slot}, about ${rowsAbout} rows`,
      })
      return { slot, rowsAbout }
    })
  } catch (error) {
    if (error instanceof Failure && error.code === 'DATABASE_BUSY') return 'busy'
    throw error
  }
}

/**
 * Whether every row of a slot is published, and none is younger than the retention (a clock that was wrong for a while
 * writes to a slot of another day). By the index, so that it costs little: rows that a shard has not published yet
 * are not older than the oldest transaction its cursor saw running.
 */
async function isPurgeable(
  db: Queryable,
  slot: number,
  { retentionDays, now }: PurgeOptions,
): Promise<boolean> {
  const [found] = await db.query<{ isKept: boolean }>(sql`
    select coalesce(bool_or(
      exists (
        select from ${partitionOf(slot)} as e
        where e.shard = cursor.shard and e.xid >= pg_snapshot_xmin(cursor.published_snapshot)
          and not pg_visible_in_snapshot(e.xid, cursor.published_snapshot)
          and not (pg_visible_in_snapshot(e.xid, cursor.to_snapshot) and e.seq <= cursor.after_seq)
      ) or (
        select e.created_at from ${partitionOf(slot)} as e where e.shard = cursor.shard order by e.seq desc limit 1
      ) > coalesce(${now ?? null}::timestamptz, now()) - ${retentionDays} * interval '1 day'
    ), false) as "isKept"
    from ${newestCursors} as cursor`)
  return found?.isKept === false
}

/** A constant of our own, so it may stand in the statement as it is. */
const partitionOf = (slot: number) => raw(`catalog.outbox_events_${String(slot)}`)

export interface RingKeeperOptions {
  db: Database
  /** Whether this relay is the one to purge: the holder of shard 0. */
  isKeeper: () => boolean
  retentionDays: number
  everyMs: number
  log: Logger
  telemetry: Telemetry
}

/** Purges the ring now and then. @returns stop; a purge under way ends by itself. */
export function keepRing({ db, isKeeper, retentionDays, everyMs, log, telemetry }: RingKeeperOptions) {
  const slots = telemetry.counter(
    'likewise_outbox_purged_slots_total',
    'Slots of the ring that were emptied.',
  )
  const rows = telemetry.counter(
    'likewise_outbox_purged_rows_total',
    'Rows in them, as the statistics have it.',
  )
  const busy = telemetry.counter(
    'likewise_outbox_purge_lock_timeouts_total',
    'Times a slot was in use and was left for later.',
  )

  async function purge(stopping: AbortSignal): Promise<void> {
    const onBusy = (): void => busy.inc()
    for (const { slot, rowsAbout } of await purgeRing(db, {
      retentionDays,
      actor: 'relay',
      stopping,
      onBusy,
    })) {
      slots.inc()
      rows.inc(rowsAbout)
      log.info({ slot, rowsAbout, retentionDays }, 'slot of the outbox purged')
    }
  }

  let dueMs = performance.now()
  const stop = repeat(
    async (stopping) => {
      if (performance.now() < dueMs || !isKeeper()) return
      dueMs = performance.now() + everyMs * (0.9 + Math.random() / 5)
      await purge(stopping)
    },
    { pauseMs: () => Math.min(everyMs, 5_000), log, failed: 'outbox not purged' },
  )
  return () => void stop()
}
