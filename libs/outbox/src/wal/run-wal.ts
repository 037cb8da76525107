import type { Database } from '@likewise/database'
import { Failure, type Logger, backoffMs, pause, within } from '@likewise/service'
import type { OutboxEvent } from '../page.ts'
import { type Mark, haveReached, noteAcknowledged, stepCursorsTo, takeMark } from './progress.ts'
import { readMode, requireSlot, walName } from './slot.ts'
import { type WalStream, openWal } from './stream.ts'
import type { WalTelemetry } from './wal-telemetry.ts'

export interface WalLimits {
  /** Rows and bytes of one batch, that is of one `deliver`. */
  batchRowsMax: number
  batchBytesMax: number
  /** Events read from the socket that wait for the batch before, about. */
  waitingBytesMax: number
  /** The slot of a reader that is silent for so long is freed: what a lease is to polling. */
  senderTimeoutMs: number
  /** How often the poll cursors are moved on, while there are events. */
  stepMs: number
  backoffBaseMs: number
  backoffCapMs: number
}

export interface WalContext {
  db: Database
  /** The same database, for the replication connection. */
  url: string
  owner: string
  /** The leases this relay holds now; of shards it does not hold the cursors stay. */
  leases: () => readonly { shard: number; epoch: bigint }[]
  /**
   * Publishes them in this order per key, parks what is refused, retries outages for ever; resolves when each is the one
   * or the other. Once `ending` has aborted (the relay stops, the mode is another, the stream is gone) it must settle soon,
   * and may reject with anything; before that, a rejection is a bug.
   */
  deliver: (events: readonly OutboxEvent[], ending: AbortSignal) => Promise<void>
  /** Told when this relay begins to read the slot, and when it lets go of it. */
  reading: (reads: boolean) => void
  limits: WalLimits
  log: Logger
  telemetry: WalTelemetry
  stopping: AbortSignal
  slot?: string
}

/** Acknowledged positions are noted and confirmed, and the mode is looked at, this often. */
const settleMs = 1_000
/** An idle outbox beside busy tables confirms after so much WAL: less is not worth a write. */
const idleBytesMax = 1_048_576n
/**
 * For the last position to be noted, and for what keeps the slot, once the reading ends: a statement that hangs would take
 * as long as its statement_timeout, and a stop has ten seconds. What is not noted comes once more.
 */
const lastWordsMs = 2_000
/** A relay whose slot is read by another looks again after this, give or take a half. */
const standbyMs = 1_000

/**
 * Relays the outbox from the WAL: one reader at a time, every other relay that runs this stands by and takes over when
 * the slot becomes free. Resolves when `stopping` aborts, or when the outbox is not read from the WAL any more; rejects
 * with SLOT_UNUSABLE when going on would pass over events, and with bugs.
 *
 * First copies stay in order whatever happens: a reader that was cut off and still sends, its successor, and the poll
 * relays around a change of mode all send the same sequence of a key, and none begins behind what is acknowledged.
 */
export async function runWal(context: WalContext): Promise<void> {
  const { log, limits, stopping } = context
  const { backoffBaseMs: baseMs, backoffCapMs: capMs } = limits
  let failures = 0
  while (!stopping.aborted) {
    try {
      const stream = await takeSlot(context)
      if (stream === 'poll') return
      if (stream === 'standby') {
        await pause(standbyMs * (0.5 + Math.random()), stopping)
        continue
      }
      failures = 0
      await follow(context, stream)
    } catch (error) {
      if (!(error instanceof Failure && error.retryable)) throw error
      failures += 1
      log.warn({ err: error, failures }, 'wal reader waits')
      await pause(backoffMs({ attempt: failures, baseMs, capMs, random: Math.random }), stopping)
    }
  }
}

async function takeSlot(context: WalContext): Promise<WalStream | 'standby' | 'poll'> {
  const { db, url, limits, telemetry, slot = walName } = context
  const health = await requireSlot(db, slot)
  telemetry.observe(health)
  if (health.mode === 'poll') return 'poll'
  if (health.slot?.active) return 'standby'
  try {
    return await openWal({
      url,
      slot,
      publication: walName,
      applicationName: 'likewise-outbox-relay',
      connectTimeoutMs: 2_000,
      senderTimeoutMs: limits.senderTimeoutMs,
      waitingBytesMax: limits.waitingBytesMax,
    })
  } catch (error) {
    if (error instanceof Failure && error.details?.['sqlstate'] === '55006') return 'standby'
    // Refused because the slot has just gone: the sentence about that is the better one.
    const { mode } = await requireSlot(db, slot)
    if (mode === 'poll') return 'poll'
    throw error
  }
}

/** Reads until the relay stops, the mode changes, or something breaks. */
async function follow(context: WalContext, stream: WalStream): Promise<void> {
  const { log, telemetry, stopping } = context
  const broken = new AbortController()
  // A stream that has ended frees the slot: another relay reads on, and what this one has in hand is that one's now.
  const ending = AbortSignal.any([stopping, broken.signal, stream.broken])
  const progress: Progress = { acknowledged: 0n, events: 0 }
  const settle = settler(context, stream, progress)
  log.info({ owner: context.owner }, 'wal reader started')
  telemetry.reading.set(1)
  context.reading(true)

  const pumping = pump(context, stream, progress, ending).finally(() => {
    broken.abort()
  })
  const keeping = keep(context, settle, ending).catch(async (error: unknown) => {
    // Not after the batch on its way, which may last as long as the broker is away: a server that is shutting down
    // waits for its readers.
    broken.abort()
    await stream.stop()
    throw error
  })
  const [pumped, kept] = await Promise.allSettled([
    pumping,
    soonAfter(
      ending,
      keeping.finally(() => broken.abort()),
    ),
  ])
  // What was acknowledged last; if it cannot be noted, it comes once more.
  await within(lastWordsMs, settle(), unsettled).catch((error: unknown) => {
    log.warn({ err: error }, 'last position not confirmed')
  })
  await stream.stop()
  context.reading(false)
  telemetry.reading.set(0)
  log.info({ owner: context.owner }, 'wal reader ended')
  for (const end of [kept, pumped]) if (end.status === 'rejected') throw end.reason
}

/** What `work` gives, or nothing where that takes longer than `lastWordsMs` from the end of reading. */
async function soonAfter(ending: AbortSignal, work: Promise<void>): Promise<void> {
  const over = new AbortController()
  const ended = new Promise<void>((resolve) => {
    if (ending.aborted) resolve()
    else ending.addEventListener('abort', () => resolve(), { once: true, signal: over.signal })
  })
  await Promise.race([work, ended.then(() => pause(lastWordsMs, over.signal))]).finally(() => over.abort())
}

const unsettled = (): Failure =>
  new Failure(
    'DATABASE_UNAVAILABLE',
    'PostgreSQL did not note the last position in time; it comes once more.',
  )

interface Progress {
  /** Everything committed below is acknowledged. */
  acknowledged: bigint
  events: number
}

/** One batch is on its way while the stream collects the next. */
async function pump(
  { deliver, limits, log, telemetry }: WalContext,
  stream: WalStream,
  progress: Progress,
  ending: AbortSignal,
): Promise<void> {
  const batchLimits = { rowsMax: limits.batchRowsMax, bytesMax: limits.batchBytesMax }
  for (;;) {
    const batch = await stream.read(batchLimits, ending)
    if (batch === null) {
      stream.broken.throwIfAborted()
      return
    }
    if (batch.events.length > 0) {
      try {
        await deliver(batch.events, ending)
      } catch (error) {
        if (!ending.aborted) throw error
        stream.broken.throwIfAborted()
        return
      }
      telemetry.delivered.inc(batch.events.length)
      log.debug({ events: batch.events.length, seq: batch.events.at(-1)?.seq }, 'wal batch delivered')
    }
    progress.events += batch.events.length
    progress.acknowledged = batch.lsn
  }
}

/** Settles once a second, and looks at mode and slot. Returns when the mode is another. */
async function keep(
  { db, telemetry, limits, slot }: WalContext,
  settle: () => Promise<boolean>,
  ending: AbortSignal,
): Promise<void> {
  let lookedMs = 0
  for (;;) {
    await pause(settleMs, ending)
    if (ending.aborted) return
    if ((await readMode(db)) === 'poll' || !(await settle())) return
    if (performance.now() - lookedMs < limits.stepMs) continue
    lookedMs = performance.now()
    const health = await requireSlot(db, slot)
    telemetry.observe(health)
  }
}

/**
 * Notes and confirms what is acknowledged, and moves the poll cursors behind it. The function it returns says false
 * when the outbox is not read from the WAL any more.
 */
function settler(context: WalContext, stream: WalStream, progress: Progress): () => Promise<boolean> {
  const { db, owner, leases, limits, telemetry } = context
  let confirmed = { lsn: 0n, events: 0 }
  // One mark at the start, even without events: the reader before may have left the cursors behind.
  let [marked, markedMs] = [-1, -Infinity]
  let pending: Mark | null = null

  return async () => {
    const { acknowledged: lsn, events } = progress
    if (lsn > confirmed.lsn && (events > confirmed.events || lsn - confirmed.lsn >= idleBytesMax)) {
      if (!(await noteAcknowledged(db, lsn))) return false
      stream.confirm(lsn)
      confirmed = { lsn, events }
    }
    const due = pending !== null && lsn >= pending.lsn
    if (pending && due) {
      telemetry.stepped.inc((await stepCursorsTo(db, owner, leases(), pending.snapshot)).length)
      // Whoever has just taken over gets some shards only when their leases run out: they step then, with this mark or a
      // later one.
      if (await haveReached(db, pending.snapshot)) pending = null
    }
    if ((!pending || due) && events > marked && performance.now() - markedMs >= limits.stepMs) {
      ;[marked, markedMs] = [events, performance.now()]
      pending = await takeMark(db)
    }
    return true
  }
}
