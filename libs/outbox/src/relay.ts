import { randomUUID } from 'node:crypto'
import type { Database } from '@likewise/database'
import { Failure, type Logger, type Telemetry, backoffMs, pause } from '@likewise/service'
import { type HeldLease, type Leases, buildLeases } from './leases.ts'
import type { OutboxEvent } from './page.ts'
import { readMarkedShards } from './parked.ts'
import { moveParked } from './redrive.ts'
import { type ShardContext, publishWindow } from './shard.ts'
import { relayTelemetry } from './telemetry.ts'
import { nextWindows } from './window.ts'

export interface RelayLimits {
  /** Rows and bytes of one page, that is of one send to the broker. */
  pageRowsMax: number
  pageBytesMax: number
  /** Idle polling starts at the first and doubles up to the second. */
  pollMinMs: number
  pollMaxMs: number
  /** A relay that is silent for so long loses its shards. Renewed at a third of it. */
  leaseMs: number
  /** Backoff while the broker or the database is away; there is no last attempt. */
  backoffBaseMs: number
  backoffCapMs: number
}

export interface RelayOptions {
  db: Database
  /** A pool of its own for the leases, so that a renewal never queues behind pages; `db` where it is left out. */
  leaseDb?: Database
  /** Resolves when the broker has acknowledged all of them, in this order per key; otherwise rejects. */
  publish: (events: readonly OutboxEvent[]) => Promise<void>
  limits: RelayLimits
  log: Logger
  telemetry: Telemetry
  /** Called when the relay cannot go on because of a bug, never for an outage. */
  fail: (error: unknown) => void
}

export interface Relay {
  readonly owner: string
  /** Shards this relay holds now. */
  shards(): number[]
  /** Takes no more work, settles what is on its way, gives its shards back. */
  stop(): Promise<void>
}

/**
 * Publishes the outbox in order, at least once, together with any number of other relays: each holds leases on a
 * share of the shards. Per shard: open a window → read a page → publish it → settle it.
 */
export function startRelay(options: RelayOptions): Relay {
  const { db, limits, log } = options
  const owner = randomUUID()
  const telemetry = relayTelemetry(options.telemetry)
  const stopping = new AbortController()
  /** A bug: no more work of any kind, or it would be repeated until the service has stopped. */
  function fail(error: unknown): void {
    stopping.abort()
    options.fail(error)
  }
  const { leaseMs, pollMinMs, pollMaxMs, backoffBaseMs: baseMs, backoffCapMs: capMs } = limits
  const leases = buildLeases({ db: options.leaseDb ?? db, owner, leaseMs, log, telemetry, fail })
  const marks = watchMarks(db, leases)
  const context: ShardContext = {
    ...options,
    owner,
    telemetry,
    leases,
    stopping: stopping.signal,
    isInterrupted: marks.has,
  }
  const work = shardWork(context, waitFor)

  async function poll(): Promise<number> {
    const idle = leases.usable().filter((lease) => !work.busy.has(lease.shard))
    if (idle.length === 0) return 0
    try {
      return await workOn(idle)
    } catch (error) {
      if (!(error instanceof Failure && error.code === 'DATABASE_BUSY')) throw error
      if (idle.length === 1) throw error
      // After a long outage, counting the backlog of all shards may take longer than a statement may: one by one then,
      // and one that takes too long even so holds up no other.
      let found = 0
      for (const lease of idle) found += await workOn([lease]).catch(waitFor)
      return found
    }
  }

  async function workOn(idle: readonly HeldLease[]): Promise<number> {
    const windows = await nextWindows(db, owner, idle)
    for (const window of windows) work.begin(window.shard, () => publishWindow(context, window))
    return windows.length
  }

  /** Parked events that somebody wants moved come before the window of their shard. */
  async function moveMarked(): Promise<void> {
    await marks.refresh()
    for (const { shard } of leases
      .usable()
      .filter(({ shard }) => marks.has(shard) && !work.busy.has(shard))) {
      work.begin(shard, async () => {
        if (await moveParked(context, shard)) marks.done(shard)
      })
    }
  }

  /** An outage of the database is waited out; anything else is a bug and ends the service. */
  function waitFor(error: unknown): number {
    if (error instanceof Failure && error.retryable) log.warn({ err: error }, 'relay waits')
    else fail(error)
    return 0
  }

  async function run(): Promise<void> {
    let [waitMs, failures] = [pollMinMs, 0]
    while (!stopping.signal.aborted) {
      await leases.giveBackIdle(work.busy)
      try {
        await moveMarked()
        const found = await poll()
        failures = 0
        waitMs = found > 0 ? pollMinMs : Math.min(waitMs * 2, pollMaxMs)
      } catch (error) {
        waitFor(error)
        failures += 1
        waitMs = backoffMs({ attempt: failures, baseMs, capMs, random: Math.random })
      }
      // Jitter: relays that started together must not poll together for ever.
      await pause(waitMs * (0.75 + Math.random() / 2), stopping.signal)
    }
    await Promise.all(work.busy.values())
  }

  const running = Promise.all([leases.run(stopping.signal), run()])
  log.info({ owner }, 'relay started')

  return {
    owner,
    shards: () => leases.usable().map((lease) => lease.shard),
    async stop() {
      stopping.abort()
      await running
      await leases.leave()
      log.info({ owner }, 'relay stopped')
    },
  }
}

// A person waits for it, but a query on every poll would cost more than it is worth.
const marksEveryMs = 1_000

/**
 * The shards in which parked events are to be moved. A shard that is newly held is always looked at once: whoever had it
 * before may have been killed in the middle of a key.
 */
function watchMarks(db: Database, leases: Leases) {
  const marked = new Set<number>()
  const epochs = new Map<number, bigint>()
  let nextMs = 0

  return {
    has: (shard: number): boolean => marked.has(shard),
    done: (shard: number): void => void marked.delete(shard),
    async refresh(): Promise<void> {
      if (performance.now() < nextMs) return
      nextMs = performance.now() + marksEveryMs
      const held = leases.usable()
      if (held.length === 0) return
      for (const { shard, epoch } of held) {
        if (epochs.get(shard) !== epoch) marked.add(shard)
        epochs.set(shard, epoch)
      }
      const shards = held.map(({ shard }) => shard)
      for (const shard of await readMarkedShards(db, shards)) marked.add(shard)
    },
  }
}

/** One piece of work per shard at a time. `busy` holds the shards that are worked on. */
function shardWork(context: ShardContext, waitFor: (error: unknown) => void) {
  const { backoffBaseMs: baseMs, backoffCapMs: capMs } = context.limits
  const busy = new Map<number, Promise<void>>()
  const failuresOf = new Map<number, number>()

  /** The shard stays busy through its backoff: a page that cannot be settled must not be sent again at once. */
  async function run(shard: number, work: () => Promise<void>): Promise<void> {
    try {
      await work()
      failuresOf.delete(shard)
    } catch (error) {
      waitFor(error)
      const attempt = (failuresOf.get(shard) ?? 0) + 1
      failuresOf.set(shard, attempt)
      await pause(backoffMs({ attempt, baseMs, capMs, random: Math.random }), context.stopping)
    } finally {
      busy.delete(shard)
    }
  }

  return {
    busy,
    begin: (shard: number, work: () => Promise<void>): void => void busy.set(shard, run(shard, work)),
  }
}
