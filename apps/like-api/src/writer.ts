import assert from 'node:assert/strict'
import type { Database } from '@likewise/database'
import { Failure, type Telemetry, buildLimit } from '@likewise/service'
import { carryOut } from './carry-out.ts'
import { keyInFlight, writeBatch } from './write-batch.ts'
import { buildWriteQueue } from './write-queue.ts'
import type { Write, WriteResult } from './write.ts'
import { type WriterTelemetry, writerTelemetry } from './writer-telemetry.ts'

export interface WriterLimits {
  /** Writes in one statement. */
  readonly batchSizeMax: number
  /** Writes that wait for a batch; beyond it they are refused at once. */
  readonly waitingMax: number
  /** A write that has no outcome after so long is answered with a failure, whatever becomes of it. */
  readonly answerWithinMs: number
}

/**
 * Carries out likes and unlikes in batches: while two are in flight the next one gathers, and nobody waits for a timer.
 * A promise settles after the commit of its own write, and within `answerWithinMs` and 100 ms.
 */
export interface Writer {
  /**
   * Rejects with OVERLOADED or DATABASE_BUSY where it was not done, with DATABASE_UNAVAILABLE where that is not known: it
   * is never run again here, and asking again does no harm.
   */
  write(write: Write): Promise<WriteResult>
  /** The same for a list, of one key in this order. Rejects where there is no room for all of it. */
  writeAll(writes: readonly Write[]): Promise<PromiseSettledResult<WriteResult>[]>
  /** Takes no more, and resolves when all that was taken is over. */
  stop(): Promise<void>
}

const batchesMax = 2
/** Likes and unlikes of one key by turns; beyond that somebody plays. */
const waitingPerKeyMax = 100
/** So many wait at a time, each in a connection, for somebody else's lock. */
const asideMax = 2
const sweepEveryMs = 100

type Outcome = { readonly result: WriteResult } | { readonly error: Error }

interface Entry {
  readonly key: string
  readonly write: Write
  readonly idempotencyId: string | undefined
  readonly dueMs: number
  /** Its own, then those of equal writes that came while it waited. None once it is answered. */
  answers: ((outcome: Outcome) => void)[]
}

interface Station {
  readonly db: Database
  readonly limits: WriterLimits
  readonly telemetry: WriterTelemetry
  readonly queue: ReturnType<typeof buildWriteQueue<Entry>>
  /** What is not over, the oldest first. */
  readonly open: Set<Entry>
  readonly keysInFlight: Set<string>
  readonly aside: ReturnType<typeof buildLimit>
  isPumping: boolean
  /** Set by a stop, and called when nothing is open. */
  onIdle: (() => void) | undefined
}

export function startWriter(options: { db: Database; telemetry: Telemetry; limits: WriterLimits }): Writer {
  const { db, limits } = options
  const station: Station = {
    db,
    limits,
    telemetry: writerTelemetry(options.telemetry),
    queue: buildWriteQueue({ ...limits, batchesMax, waitingPerKeyMax }),
    open: new Set(),
    keysInFlight: new Set(),
    aside: buildLimit(asideMax),
    isPumping: false,
    onIdle: undefined,
  }
  const sweeping = setInterval(() => {
    sweep(station)
    if (station.queue.waiting() === 0) return
    // Beside a batch that hangs nobody waits for more to come.
    station.queue.hurry()
    pump(station)
  }, sweepEveryMs)
  sweeping.unref()
  let idle: Promise<void> | undefined

  return {
    write: (write) => enter(station, write),
    async writeAll(writes) {
      if (station.queue.waiting() + writes.length > limits.waitingMax) throw overloaded(station)
      return Promise.allSettled(writes.map((write) => enter(station, write)))
    },
    stop: () =>
      (idle ??= new Promise<void>((resolve) => {
        station.onIdle = resolve
        if (station.open.size === 0) resolve()
      }).finally(() => clearInterval(sweeping))),
  }
}

function enter(station: Station, write: Write): Promise<WriteResult> {
  const { queue, keysInFlight } = station
  const key = `${write.userId}/${write.productId}`
  const idempotencyId =
    write.idempotencyKey === undefined ? undefined : `${write.userId}/${write.idempotencyKey}`
  return new Promise((resolve, reject) => {
    if (station.onIdle !== undefined) throw new Failure('OVERLOADED', 'This service is stopping.')
    if (idempotencyId !== undefined && keysInFlight.has(idempotencyId)) throw keyInFlight()
    const answer = (outcome: Outcome): void => {
      if ('error' in outcome) reject(outcome.error)
      else resolve(outcome.result)
    }
    const before = queue.newest(key)
    if (before && isSame(before.write, write)) {
      before.answers.push(answer)
      return
    }
    const dueMs = performance.now() + station.limits.answerWithinMs
    const entry: Entry = { key, write, idempotencyId, dueMs, answers: [answer] }
    if (!queue.offer(entry)) throw overloaded(station)
    station.open.add(entry)
    if (idempotencyId !== undefined) keysInFlight.add(idempotencyId)
    pump(station)
  })
}

/** Two that ask for the same thing, one after the other: the second one changes nothing, and need not be asked. */
const isSame = (one: Write, other: Write): boolean =>
  one.liked === other.liked && one.idempotencyKey === undefined && other.idempotencyKey === undefined

function overloaded({ telemetry, limits }: Station): Failure {
  telemetry.refused.inc({ reason: 'full' })
  return new Failure('OVERLOADED', `More likes wait than this service takes (${limits.waitingMax}).`)
}

/** What comes within one turn of the event loop goes together. */
function pump(station: Station): void {
  if (station.isPumping) return
  station.isPumping = true
  setImmediate(() => {
    station.isPumping = false
    for (let batch = station.queue.take(); batch; batch = station.queue.take()) void fly(station, batch)
    station.telemetry.waiting.set(station.queue.waiting())
  })
}

async function fly(station: Station, batch: readonly Entry[]): Promise<void> {
  station.telemetry.batchSize.observe(batch.length)
  await carryOut<Entry, WriteResult>(batch, {
    run: (entries, lockWaitMs) => run(station, entries, lockWaitMs),
    tell: (entry, outcome) => finish(station, entry, outcome),
    setAside: (entry) => void waitAside(station, entry),
  })
  station.queue.land()
  pump(station)
}

async function run(
  { db, telemetry }: Station,
  entries: readonly Entry[],
  lockWaitMs: number,
): Promise<WriteResult[]> {
  // What was rolled back and answered meanwhile is not begun again.
  if (entries.every(({ answers }) => answers.length === 0)) throw waitedTooLong()
  const end = telemetry.duration.startTimer()
  const writes = entries.map(({ write }) => write)
  return writeBatch(db, writes, lockWaitMs).finally(end)
}

/** Alone, it may wait for the lock as long as its answer may. */
async function waitAside(station: Station, entry: Entry): Promise<void> {
  station.telemetry.setAside.inc()
  const outcome = await station.aside(async (): Promise<Outcome> => {
    const leftMs = Math.floor(entry.dueMs - performance.now())
    if (leftMs <= 0) return { error: waitedTooLong() }
    try {
      const [result] = await run(station, [entry], leftMs)
      assert(result !== undefined)
      return { result }
    } catch (error) {
      return { error: error as Error }
    }
  })
  finish(station, entry, outcome)
}

function finish(station: Station, entry: Entry, outcome: Outcome): void {
  station.queue.release(entry)
  close(station, entry, outcome)
  pump(station)
}

function close(station: Station, entry: Entry, outcome: Outcome): void {
  answer(entry, outcome)
  station.open.delete(entry)
  if (entry.idempotencyId !== undefined) station.keysInFlight.delete(entry.idempotencyId)
  if (station.open.size === 0) station.onIdle?.()
}

function answer(entry: Entry, outcome: Outcome): void {
  const [first, ...others] = entry.answers
  entry.answers = []
  first?.(outcome)
  for (const other of others) other('error' in outcome ? outcome : { result: { changed: false } })
}

/** Answers what is overdue. What waits is not done any more; of what is in hand nobody knows yet. */
function sweep(station: Station): void {
  const nowMs = performance.now()
  const isOver = ({ dueMs }: Entry): boolean => dueMs <= nowMs
  const [oldest] = station.open
  if (!oldest || !isOver(oldest)) return
  for (const entry of station.queue.withdraw(isOver)) {
    station.telemetry.refused.inc({ reason: 'late' })
    close(station, entry, { error: waitedTooLong() })
  }
  for (const entry of station.open) {
    if (!isOver(entry)) break
    if (entry.answers.length > 0) station.telemetry.refused.inc({ reason: 'unknown' })
    answer(entry, { error: outcomeUnknown() })
  }
  station.telemetry.waiting.set(station.queue.waiting())
}

const waitedTooLong = () =>
  new Failure('DATABASE_BUSY', 'PostgreSQL is busy: the like was not begun in time.')
const outcomeUnknown = () =>
  new Failure(
    'DATABASE_UNAVAILABLE',
    'PostgreSQL did not answer in time: whether the like was kept is not known.',
  )
