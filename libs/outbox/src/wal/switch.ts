import { type Database, connectReplication, raw, sql } from '@likewise/database'
import { Failure, pause, within } from '@likewise/service'
import { isPublishedUpTo } from './progress.ts'
import { allowReplication, forbidReplication } from './replication-right.ts'
import { foreign, readWalHealth, requireSlot, walName } from './slot.ts'

export interface WalSwitchOptions {
  db: Database
  /** For a session of its own that can make a slot; its role needs REPLICATION. Not through a pooler. */
  url: string
  /** How long to wait for open transactions, for the relays, and for the slot's reader. */
  patienceMs: number
  /** One sentence per step that may take long. */
  say: (sentence: string) => void
  slot?: string
}

// Beside the migrators' 72707369 and …70; the lock is of this database only.
const lockKey = 72_707_371
const pollMs = 250

/**
 * poll → wal. Makes publication and slot, waits until polling has published everything that was committed before the
 * slot begins, and only then changes the mode. So each event is published by the one way or the other, and those
 * around the change by both.
 *
 * Nothing changes unless it succeeds: on a failure the slot is dropped again. A run that was killed leaves a slot
 * nobody needs, which the next run of this or of `disableWal` removes. The session's lock ends with its process.
 *
 * Relays must be running, or a backlog is not published: the wait then ends with DATABASE_BUSY.
 * @returns false when the outbox is read from the WAL already.
 */
export async function enableWal(options: WalSwitchOptions): Promise<boolean> {
  const { db, say, slot = walName } = options
  return withSwitchLock(options, async () => {
    const before = await requireSlot(db, slot)
    if (before.mode === 'wal') return false
    await requireLogicalWal(db)
    if (before.slot && !before.slot.ours) throw new Failure('SLOT_UNUSABLE', foreign(slot, before.slot))
    if (before.slot) await dropSlot(options)
    await makePublication(db)
    try {
      say('Making the replication slot; it waits for the transactions that are writing now.')
      const made = await makeSlot(options)
      await allowReplication(db)
      say('Waiting until the relays have published what was committed before the slot.')
      await untilPublished(options, made.snapshot)
      const changed = await db.execute(sql`
        update catalog.outbox_meta set mode = 'wal', wal_lsn = ${made.lsn}::pg_lsn, updated_at = now()`)
      return changed === 1
    } catch (error) {
      await dropSlot(options).catch((left: unknown) => {
        say(`The slot may be left over; run this again, or disable. ${String(left)}`)
      })
      throw error
    }
  })
}

/**
 * wal → poll. The cursors were kept up all the while, so polling goes on at once from the last step; then the slot's
 * reader is waited for, and slot and publication go. Also mends a slot that was lost, and what a killed run has left.
 *
 * @returns false when there was nothing to do.
 */
export async function disableWal(options: WalSwitchOptions): Promise<boolean> {
  const { db, say, slot = walName } = options
  return withSwitchLock(options, async () => {
    const changed = await db.execute(sql`
      update catalog.outbox_meta set mode = 'poll', wal_lsn = null, updated_at = now() where mode = 'wal'`)
    const { slot: found } = await readWalHealth(db, slot)
    if (found && !found.ours) say(foreign(slot, found))
    if (found?.ours) await dropSlot(options)
    const [publication] = await db.query(sql`select from pg_publication where pubname = ${walName}`)
    await db.execute(sql`drop publication if exists ${raw(walName)}`)
    await forbidReplication(db)
    return changed === 1 || found?.ours === true || publication !== undefined
  })
}

const openSession = (url: string) =>
  connectReplication({
    url,
    applicationName: 'likewise-cli',
    connectTimeoutMs: 5_000,
    senderTimeoutMs: 60_000,
  })

async function withSwitchLock<T>({ url, patienceMs }: WalSwitchOptions, work: () => Promise<T>): Promise<T> {
  const session = await openSession(url)
  try {
    const end = performance.now() + patienceMs
    for (;;) {
      const [row] = await session.query<{ got: boolean }>(`select pg_try_advisory_lock(${lockKey}) as got`)
      if (row?.got) return await work()
      if (performance.now() > end) {
        throw new Failure(
          'DATABASE_BUSY',
          'Another `likewise outbox wal …` is at work; try again when it is done.',
        )
      }
      await pause(pollMs)
    }
  } finally {
    await session.stop()
  }
}

async function requireLogicalWal(db: Database): Promise<void> {
  const [row] = await db.query<{ level: string }>(sql`select current_setting('wal_level') as level`)
  if (row?.level === 'logical') return
  throw new Failure(
    'SLOT_UNUSABLE',
    `PostgreSQL runs with wal_level = ${String(row?.level)}; reading the outbox from the WAL needs logical: ` +
      "run `alter system set wal_level = 'logical'` and restart it.",
  )
}

/** Made before the slot: changes from before a publication are not decoded. Through the root, whatever the ring is. */
async function makePublication(db: Database): Promise<void> {
  const { publicationOk } = await readWalHealth(db)
  if (publicationOk) return
  await db.execute(sql`drop publication if exists ${raw(walName)}`)
  await db.execute(sql`
    create publication ${raw(walName)} for table catalog.outbox_events
    with (publish = 'insert', publish_via_partition_root = true)`)
}

/**
 * The snapshot that a slot begins with may say `9393:9392:`, which PostgreSQL itself does not take back: its xmin moves with
 * every record of what runs, its xmax only with transactions that it has to know of. Everything below xmin has ended and is
 * visible, so xmax is at least that. Pure.
 */
export function inOrder(snapshot: string): string {
  const [xmin = '', xmax = '', open = ''] = snapshot.split(':')
  return BigInt(xmin) > BigInt(xmax) ? `${xmin}:${xmin}:${open}` : snapshot
}

/**
 * A slot and the snapshot of its beginning: what is visible in it was committed before, everything else is streamed.
 * FAILOVER: standbys that synchronise slots keep it too, so that a promotion does not lose it.
 */
async function makeSlot({
  url,
  slot = walName,
  patienceMs,
}: WalSwitchOptions): Promise<{ lsn: string; snapshot: string }> {
  const session = await openSession(url)
  try {
    await session.query('begin isolation level repeatable read, read only')
    const making = session.query<{ consistent_point: string }>(
      `CREATE_REPLICATION_SLOT "${slot}" LOGICAL pgoutput (SNAPSHOT 'use', FAILOVER true)`,
    )
    making.catch(() => undefined) // ends with the session, when nobody waits for it any more
    const [made] = await within(patienceMs, making, () => neverMade(patienceMs))
    const [seen] = await session.query<{ snapshot: string }>('select pg_current_snapshot()::text as snapshot')
    await session.query('commit')
    return { lsn: made?.consistent_point ?? '', snapshot: inOrder(seen?.snapshot ?? '') }
  } finally {
    // A slot that is still being made goes with its session, as soon as the server notices.
    await session.stop()
  }
}

function neverMade(patienceMs: number): Failure {
  return new Failure(
    'DATABASE_BUSY',
    `The replication slot could not be made within ${patienceMs} ms: it waits for every transaction that has ` +
      'written, in any database of the server. See pg_stat_activity (backend_xid) and pg_prepared_xacts for who is ' +
      'open for long, and run it again.',
  )
}

async function untilPublished({ db, patienceMs }: WalSwitchOptions, snapshot: string): Promise<void> {
  const end = performance.now() + patienceMs
  while (!(await isPublishedUpTo(db, snapshot))) {
    if (performance.now() > end) {
      throw new Failure(
        'DATABASE_BUSY',
        `The relays have not published the backlog within ${patienceMs} ms. The outbox is polled as before; see ` +
          '`likewise status`, and run this again when it is short.',
      )
    }
    await pause(pollMs)
  }
}

/** Drops the slot if it is there; a reader that does not let go by itself is ended half way through the patience. */
async function dropSlot({ db, patienceMs, say, slot = walName }: WalSwitchOptions): Promise<void> {
  const begunMs = performance.now()
  let ended = false
  for (;;) {
    const { slot: found } = await readWalHealth(db, slot)
    if (!found?.ours || (!found.active && (await droppedNow(db, slot)))) return
    const waitedMs = performance.now() - begunMs
    if (waitedMs > patienceMs) {
      throw new Failure('DATABASE_BUSY', `The replication slot ${slot} is still being read; run this again.`)
    }
    if (waitedMs > patienceMs / 2 && !ended && found.activePid !== null) {
      say(`Ending the connection that still reads the slot (process ${found.activePid} of the server).`)
      await db.query(sql`select pg_terminate_backend(${found.activePid}::int)`)
      ended = true
    }
    await pause(pollMs)
  }
}

/** false when somebody began to read it meanwhile. */
async function droppedNow(db: Database, slot: string): Promise<boolean> {
  try {
    await db.execute(sql`select pg_drop_replication_slot(${slot})::text`)
    return true
  } catch (error) {
    if (error instanceof Failure && error.details?.['sqlstate'] === '55006') return false
    throw error
  }
}
