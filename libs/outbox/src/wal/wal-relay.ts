import { Failure, backoffMs, pause } from '@likewise/service'
import { allShards } from '../cursors.ts'
import { type HeldBack, type Parking, deliver } from '../delivery.ts'
import type { Marks } from '../loop.ts'
import type { OutboxEvent } from '../page.ts'
import { readHeldBack } from '../parked.ts'
import { tellParked } from '../parking-log.ts'
import { moveParked } from '../redrive.ts'
import { type ShardContext, counting, isRefusal, refusalsMax } from '../shard.ts'
import { parkFromWal } from '../step.ts'
import { runWal } from './run-wal.ts'
import { walTelemetry } from './wal-telemetry.ts'

interface WalRelayOptions {
  context: ShardContext
  marks: Marks
  url: string
  slot?: string
  telemetry: Parameters<typeof walTelemetry>[0]
  fail: (error: unknown) => void
}

// Rows become visible within milliseconds of their WAL; leases of others run out within a lease.
const parkAgainMs = 50
const lookMs = 500
const waitingBytesMax = 4_000_000

/** Publishes from the WAL while the outbox's mode says so: with the same parking, order and outages as polling. */
export function buildWalRelay(options: WalRelayOptions) {
  const { context, marks, url, slot, fail } = options
  const { db, owner, leases, limits, log, stopping } = context
  const telemetry = walTelemetry(options.telemetry)
  const delivery = buildWalDelivery(context)
  let fault: Failure | null = null
  let last: Promise<unknown> = Promise.resolve()

  /** Batches and the moving of parked events take turns: both decide by what is held back. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = last.then(work, work)
    last = turn.catch(() => undefined)
    return turn
  }

  async function moveMarked(): Promise<void> {
    await marks.refresh()
    for (const { shard } of leases.usable().filter((lease) => marks.has(lease.shard))) {
      delivery.forget()
      if (await moveParked(context, shard)) marks.done(shard)
    }
  }

  async function read(): Promise<void> {
    const { pageRowsMax: batchRowsMax, pageBytesMax: batchBytesMax, leaseMs } = limits
    const { backoffBaseMs, backoffCapMs } = limits
    const batches = { batchRowsMax, batchBytesMax, waitingBytesMax, backoffBaseMs, backoffCapMs }
    await runWal({
      ...{ db, url, owner, log, telemetry, stopping, ...(slot !== undefined && { slot }) },
      leases: leases.usable,
      deliver: (events, ending) => inTurn(() => delivery.deliver(events, ending)),
      reading: (reads) => {
        delivery.forget()
        leases.setReads(reads)
      },
      limits: { ...batches, senderTimeoutMs: leaseMs, stepMs: leaseMs },
    })
  }

  async function readUnlessRefused(): Promise<void> {
    try {
      await read()
      fault = null
    } catch (error) {
      if (!(error instanceof Failure && error.code === 'SLOT_UNUSABLE')) throw error
      if (fault === null) log.error({ err: error }, 'nothing is published')
      fault = error
    }
  }

  return {
    /** Why nothing is published, where the slot cannot be used. */
    fault: (): Failure | null => fault,
    /** Parked events that somebody wants moved, between two batches. */
    moveMarked: (): Promise<void> => inTurn(moveMarked),
    async run(): Promise<void> {
      while (!stopping.aborted) {
        if (leases.mode() === 'wal' && leases.fault() === null) await readUnlessRefused().catch(fail)
        else fault = null
        await pause(lookMs, stopping)
      }
    },
  }
}

/** Publishes batches of all shards, and parks what is refused under the leases of its shards. */
function buildWalDelivery(context: ShardContext) {
  const { db, owner, leases, limits, log } = context
  const publish = counting(context)
  let heldBack: HeldBack | null = null

  async function onFailure(error: unknown, attempt: number, ending: AbortSignal): Promise<void> {
    if (!(error instanceof Failure)) throw error
    log.warn({ err: error, attempt }, 'page not published')
    const { backoffBaseMs: baseMs, backoffCapMs: capMs } = limits
    await pause(backoffMs({ attempt, baseMs, capMs, random: Math.random }), ending)
  }

  async function outagesWaited<T>(work: () => Promise<T>, ending: AbortSignal): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await work()
      } catch (error) {
        if (!(error instanceof Failure && error.retryable) || ending.aborted) throw error
        await onFailure(error, attempt, ending)
      }
    }
  }

  async function park(parked: readonly Parking[], ending: AbortSignal): Promise<void> {
    const isParked = async () => (await parkFromWal(db, owner, leases.usable(), parked)) === parked.length
    while (!(await outagesWaited(isParked, ending))) {
      ending.throwIfAborted()
      await pause(parkAgainMs, ending)
    }
  }

  return {
    /** What is held back is read anew before the next batch. */
    forget: (): void => void (heldBack = null),
    /** Rejects once `ending` has aborted: what was not confirmed comes again, to whoever reads then. */
    async deliver(events: readonly OutboxEvent[], ending: AbortSignal): Promise<void> {
      heldBack ??= await outagesWaited(() => readHeldBack(db, allShards), ending)
      for (let rest = events; rest.length > 0;) {
        let attempt = 0
        const delivered = await deliver(rest, heldBack, {
          publish,
          isRefusal,
          attemptsMax: refusalsMax,
          mayGoOn: () => !ending.aborted,
          onFailure: (error) => onFailure(error, (attempt += 1), ending),
        })
        if (delivered === null) throw new Error('The reading ends.')
        tellParked(context, rest, delivered.parked)
        if (delivered.parked.length > 0) await park(delivered.parked, ending)
        rest = rest.slice(delivered.done)
      }
    },
  }
}
