import type { Database } from '@likewise/database'
import { Failure, type Logger, backoffMs, pause } from '@likewise/service'
import { type Delivered, type HeldBack, deliver } from './delivery.ts'
import type { Leases } from './leases.ts'
import { type OutboxEvent, readPage } from './page.ts'
import { readHeldBack } from './parked.ts'
import { tellParked } from './parking-log.ts'
import type { RelayLimits } from './relay.ts'
import type { RelayTelemetry } from './telemetry.ts'
import type { Turns } from './turns.ts'
import { recordAttempt, settle } from './step.ts'
import { type Holder, type OpenedWindow, type Window, isDone } from './window.ts'

export interface ShardContext {
  readonly db: Database
  readonly owner: string
  readonly publish: (events: readonly OutboxEvent[]) => Promise<void>
  readonly limits: RelayLimits
  readonly log: Logger
  readonly telemetry: RelayTelemetry
  readonly leases: Leases
  readonly stopping: AbortSignal
  readonly turns: Turns
  /** True when parked events of the shard are to be moved: the window is left at its next page, and gone on with after. */
  readonly isInterrupted: (shard: number) => boolean
}

/** A refused event is tried so often before it is parked: a broker whose settings are being changed is no reason. */
export const refusalsMax = 3

/**
 * Publishes one window of one shard, page by page: at most one page is unacknowledged. The next one is read while it is on
 * its way; where other shards wait for their turn they read theirs instead, so that memory stays bounded.
 * It returns at the window's end, or earlier when the relay stops or the shard is no longer its own; the cursor tells.
 *
 * What is held back is read after the window, never before: whoever parks or frees a key moves the cursor in the same
 * statement. So if somebody did in between, our first step fails; and if nobody did, it is as it was at the cursor.
 */
export async function publishWindow(context: ShardContext, opened: OpenedWindow): Promise<void> {
  const { db, limits, turns } = context
  const cursor = holdCursor(context, opened, opened.epoch)
  const { shard } = opened
  const heldBack = opened.holdsBack ? await readHeldBack(db, [shard], opened) : nothingHeldBack()
  let rest: readonly OutboxEvent[] = []
  const reading = readerOf((afterSeq) => readPage(db, opened, afterSeq, limits))
  try {
    while (!isDone(cursor.at())) {
      const turn = await turns.take()
      try {
        if (cursor.mustLeave() || context.isInterrupted(shard)) return
        if (rest.length === 0) rest = await reading.page(cursor.at().afterSeq)
        const lastSeq = BigInt(rest.at(-1)?.seq ?? raise(gap(cursor.at())))
        if (lastSeq < opened.lastSeq && !turns.areWanted()) reading.readAhead(lastSeq)
        const delivered = await cursor.deliver(rest, heldBack, {
          attemptsMax: refusalsMax,
          failed: turn.end,
        })
        if (delivered === null) return
        turn.end()
        const { done, parked } = delivered
        const afterSeq = BigInt(rest[done - 1]?.seq ?? 0)
        if (!(await cursor.step((holder, at) => settle(db, holder, at, { afterSeq, parked })))) return
        tellParked(context, rest, parked, { shard })
        rest = rest.slice(done)
      } finally {
        turn.end()
      }
    }
  } finally {
    await reading.stop()
  }
}

/** Pages in a row, the next one perhaps before it is asked for. */
function readerOf(read: (afterSeq: bigint) => Promise<OutboxEvent[]>) {
  let ahead: Promise<OutboxEvent[]> | null = null
  return {
    async page(afterSeq: bigint): Promise<OutboxEvent[]> {
      const page = ahead ?? read(afterSeq)
      ahead = null
      return page
    },
    /** What is read already stays: a page that is done in parts has the same end. */
    readAhead(afterSeq: bigint): void {
      ahead ??= read(afterSeq)
      ahead.catch(() => undefined) // awaited in its turn; until then a failure must not count as unhandled
    },
    /** Waits for what nobody will ask for any more. */
    async stop(): Promise<void> {
      await ahead?.catch(() => undefined)
    },
  }
}

export const nothingHeldBack = (): HeldBack => ({ keys: new Set(), discarded: new Set() })

/**
 * A shard's cursor in the hands of the relay that held its lease, of this epoch, when the cursor was read: each step is a
 * compare-and-set, and one that fails ends the work.
 */
export function holdCursor(context: ShardContext, opened: Window, epoch: bigint) {
  const { db, leases, limits, log, stopping } = context
  const { shard } = opened
  const holder: Holder = { owner: context.owner, epoch }
  let [window, isFenced] = [opened, false]

  async function step(move: (holder: Holder, at: Window) => Promise<Window | null>): Promise<boolean> {
    const moved = await move(holder, window)
    if (moved === null) {
      isFenced = true
      tellFenced(context, { shard, epoch })
      return false
    }
    window = moved
    return true
  }

  /** An outage is waited out, however long; the attempts stand on the cursor, where status shows them. */
  async function onFailure(error: unknown): Promise<void> {
    if (!(error instanceof Failure)) throw error
    log.warn({ err: error, shard, attempts: window.attempts + 1 }, 'page not published')
    if (!(await step((by, at) => recordAttempt(db, by, at, error.message)))) return
    const { backoffBaseMs: baseMs, backoffCapMs: capMs } = limits
    await pause(backoffMs({ attempt: window.attempts, baseMs, capMs, random: Math.random }), stopping)
  }

  const publish = counting(context)

  return {
    at: (): Window => window,
    step,
    /** Between two pages: the relay stops, or another relay is to have the shard. */
    mustLeave: (): boolean => stopping.aborted || leases.wantsBack(shard),
    deliver: (
      page: readonly OutboxEvent[],
      heldBack: HeldBack,
      { attemptsMax, failed }: { attemptsMax: number; failed?: () => void },
    ): Promise<Delivered | null> => {
      // The first send goes out although the relay stops: the page is in hand, and settling it repeats nothing.
      let sends = 0
      return deliver(page, heldBack, {
        publish,
        isRefusal,
        attemptsMax,
        onFailure: async (error) => {
          failed?.()
          await onFailure(error)
        },
        mayGoOn: () =>
          !isFenced && leases.current(shard, epoch) !== undefined && (sends++ === 0 || !stopping.aborted),
      })
    },
  }
}

/** Another relay has moved the cursor, or holds the shard: the step changed nothing. */
export function tellFenced(
  { telemetry, log }: ShardContext,
  { shard, epoch }: { shard: number; epoch: bigint },
): void {
  telemetry.fencedWrites.inc()
  log.warn({ shard, epoch: String(epoch) }, 'cursor moved by another relay')
}

export const isRefusal = (error: unknown): error is Failure =>
  error instanceof Failure && error.code === 'EVENT_REFUSED'

/** `publish`, with its telemetry. */
export function counting({ publish, telemetry, log }: ShardContext) {
  return async (events: readonly OutboxEvent[]): Promise<void> => {
    const end = telemetry.publishSeconds.startTimer()
    try {
      await publish(events)
    } catch (error) {
      if (error instanceof Failure) telemetry.publishFailures.inc({ reason: error.code })
      throw error
    }
    end()
    telemetry.published.inc(events.length)
    log.debug({ events: events.length, seq: events.at(-1)?.seq }, 'page published')
  }
}

function raise(error: Error): never {
  throw error
}

/** Rows of a window cannot vanish: its opening was flushed after them. Stop and say so rather than pass over. */
function gap(window: Window): Error {
  return new Error(
    `Shard ${String(window.shard)}: the window up to seq ${String(window.lastSeq)} has no rows behind seq ` +
      `${String(window.afterSeq)}. Rows of catalog.outbox_events were removed by hand.`,
  )
}
