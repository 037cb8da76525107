import type { Database } from '@likewise/database'
import { Failure, type Logger, backoffMs, pause } from '@likewise/service'
import type { Leases } from './leases.ts'
import { type OutboxEvent, readPage } from './page.ts'
import type { RelayLimits } from './relay.ts'
import type { RelayTelemetry } from './telemetry.ts'
import { type Holder, type Window, isDone, recordAttempt, settle } from './window.ts'

export interface ShardContext {
  readonly db: Database
  readonly owner: string
  readonly publish: (events: readonly OutboxEvent[]) => Promise<void>
  readonly limits: RelayLimits
  readonly log: Logger
  readonly telemetry: RelayTelemetry
  readonly leases: Leases
  readonly stopping: AbortSignal
}

/**
 * Publishes one window of one shard, page by page: at most one page is unacknowledged, and the next one is read
 * while it is on its way.
 * It returns at the window's end, or earlier when the relay stops or the shard is no longer its own; the cursor tells.
 */
export async function publishWindow(context: ShardContext, opened: Window): Promise<void> {
  const { db, leases, limits, telemetry } = context
  const epoch = leases.epochOf(opened.shard)
  if (epoch === undefined) return
  const holder: Holder = { owner: context.owner, epoch }
  let window = opened
  let page = await readPage(db, window, window.afterSeq, limits)
  while (!isDone(window)) {
    if (context.stopping.aborted || leases.wantsBack(window.shard)) return
    const last = page.at(-1)
    if (!last) throw gap(window)
    const lastSeq = BigInt(last.seq)
    const nextPage = lastSeq < window.lastSeq ? readPage(db, window, lastSeq, limits) : Promise.resolve([])
    nextPage.catch(() => undefined) // awaited below; until then a failure must not count as unhandled
    const published = await publishPage(context, holder, window, page)
    if (published === null) return
    const { acknowledged } = published
    const settled = await settle(db, holder, published.window, BigInt(acknowledged.at(-1)?.seq ?? 0))
    if (!settled) {
      telemetry.fencedWrites.inc()
      return
    }
    window = settled
    page = acknowledged.length < page.length ? page.slice(acknowledged.length) : await nextPage
  }
}

/**
 * Sends a page until the broker has it. Kafka refuses a page as a whole, so one that is refused is halved: it may only
 * have been too large together.
 *
 * @returns the cursor with its attempts and what of the page was acknowledged; null when the lease is gone.
 */
async function publishPage(
  context: ShardContext,
  holder: Holder,
  opened: Window,
  whole: readonly OutboxEvent[],
): Promise<{ window: Window; acknowledged: readonly OutboxEvent[] } | null> {
  const { db, limits, log, telemetry, leases, stopping } = context
  let [window, page] = [opened, whole]
  for (;;) {
    if (!leases.current(window.shard, holder.epoch)) return null
    try {
      const end = telemetry.publishSeconds.startTimer()
      await context.publish(page)
      end()
      telemetry.published.inc(page.length)
      log.debug({ shard: window.shard, events: page.length, seq: page.at(-1)?.seq }, 'page published')
      return { window, acknowledged: page }
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      telemetry.publishFailures.inc({ reason: error.code })
      if (error.code === 'EVENT_REFUSED' && page.length > 1) {
        page = page.slice(0, Math.ceil(page.length / 2))
        continue
      }
      log.warn({ err: error, shard: window.shard, attempts: window.attempts + 1 }, 'page not published')
      const recorded = await recordAttempt(db, holder, window, error.message)
      if (!recorded) {
        telemetry.fencedWrites.inc()
        return null
      }
      window = recorded
      const { backoffBaseMs: baseMs, backoffCapMs: capMs } = limits
      await pause(backoffMs({ attempt: window.attempts, baseMs, capMs, random: Math.random }), stopping)
      if (stopping.aborted) return null
    }
  }
}

/** Rows of a window cannot vanish: its opening was flushed after them. Stop and say so rather than pass over. */
function gap(window: Window): Error {
  return new Error(
    `Shard ${String(window.shard)}: the window up to seq ${String(window.lastSeq)} has no rows behind seq ` +
      `${String(window.afterSeq)}. Rows of catalog.outbox_events were removed by hand.`,
  )
}
