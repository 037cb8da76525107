import { Failure, backoffMs } from '@likewise/service'
import { type HeldBack, type Lease, decideShare, deliver } from '@likewise/outbox/decisions'
import { type Broker, storedOf } from './broker.ts'
import type { Catalog, Row } from './catalog.ts'
import type { Cursors, Parked, Window } from './cursors.ts'
import type { Process, World } from './world.ts'

export interface RelayBugs {
  /** The cursor moves before the broker has answered. */
  readonly settleFirst?: boolean
  /** An outage counts as the event's fault. */
  readonly countsOutages?: boolean
  /** A page that failed is sent from its end. */
  readonly backwards?: boolean
  /** Whether the lease still holds is not looked at before a send. */
  readonly ignoresDeadline?: boolean
}

interface RelayContext {
  readonly world: World
  readonly process: Process
  readonly owner: string
  readonly catalog: Catalog
  readonly cursors: Cursors
  readonly broker: Broker
  /** Records that the broker does not take. */
  readonly refuses: (row: Row) => boolean
  readonly bugs: RelayBugs
}

const leaseMs = 300
const pageRowsMax = 4
const refusalsMax = 3
const backoff = { baseMs: 5, capMs: 80, random: () => 0.5 }

/** A relay as libs/outbox runs it (loop.ts, leases.ts, shard.ts), with the same decisions. */
export function runRelay(context: RelayContext): void {
  const { world, process, owner, catalog, cursors } = context
  let held = new Map<number, { epoch: bigint; deadlineMs: number }>()
  let givingBack = new Set<number>()
  const busy = new Set<number>()
  const isCurrent = (shard: number, epoch: bigint): boolean => {
    const lease = held.get(shard)
    return lease?.epoch === epoch && (context.bugs.ignoresDeadline === true || world.now() < lease.deadlineMs)
  }

  async function renew(): Promise<void> {
    const deadlineMs = world.now() + leaseMs
    const table = await process.call(catalog.server, () => cursors.renew(owner, leaseMs))
    const { take, giveBack } = decideShare(owner, table)
    const taken = await process.call(catalog.server, () => cursors.take(owner, take))
    const mine = table.leases.filter((lease: Lease) => lease.owner === owner && !lease.free)
    held = new Map([...mine, ...taken].map(({ shard, epoch }) => [shard, { epoch, deadlineMs }]))
    givingBack = new Set(giveBack)
  }
  async function giveBackIdle(): Promise<void> {
    const shards = [...givingBack].filter((shard) => !busy.has(shard))
    if (shards.length === 0) return
    for (const shard of shards) held.delete(shard)
    givingBack = new Set()
    await process.call(catalog.server, () => cursors.release(owner, shards))
  }
  async function keepLeases(): Promise<never> {
    for (;;) await process.pause((await orOutage(renew)) ? leaseMs / 3 : leaseMs / 10)
  }
  async function poll(): Promise<void> {
    await giveBackIdle()
    const idle = [...held].filter(
      ([shard, { epoch }]) => isCurrent(shard, epoch) && !givingBack.has(shard) && !busy.has(shard),
    )
    if (idle.length === 0) return
    const leases = idle.map(([shard, { epoch }]) => ({ shard, epoch }))
    const windows = await process.call(catalog.server, () => cursors.nextWindows(owner, leases))
    for (const window of windows) {
      busy.add(window.shard)
      void orOutage(() => publishWindow(context, window, isCurrent))
        .then((isDone) => (isDone ? undefined : process.pause(backoff.capMs)))
        .then(() => busy.delete(window.shard))
    }
  }
  async function keepPolling(): Promise<never> {
    for (let idleMs = 10; ; idleMs = Math.min(idleMs * 2, 80)) {
      await orOutage(poll)
      if (busy.size > 0) idleMs = 10
      await process.pause(idleMs)
    }
  }
  void keepLeases()
  void keepPolling()
}

async function publishWindow(
  context: RelayContext,
  opened: Window,
  isCurrent: (shard: number, epoch: bigint) => boolean,
): Promise<void> {
  const { process, owner, catalog, cursors, bugs } = context
  const { shard, epoch } = opened
  let window: Window | null = opened
  const keys = await process.call(catalog.server, () => cursors.heldBack(shard))
  const heldBack: HeldBack = { keys, discarded: new Set() }
  while (window !== null && window.afterSeq < window.lastSeq) {
    const at: Window = window
    const page = await process.call(catalog.server, () => cursors.readPage(at, pageRowsMax))
    const lastSeq = page.at(-1)?.seq ?? at.lastSeq
    if (bugs.settleFirst) window = await settle(at, lastSeq, [])
    if (window === null) return
    const delivered = await deliver(page.map(eventOf), heldBack, {
      publish: (events) => send(context, rowsOf(page, events)),
      isRefusal: (error): error is Failure =>
        error instanceof Failure && (error.code === 'EVENT_REFUSED' || bugs.countsOutages === true),
      attemptsMax: refusalsMax,
      mayGoOn: () => window !== null && isCurrent(shard, epoch),
      onFailure,
    })
    if (delivered === null) return
    const afterSeq = page[delivered.done - 1]?.seq ?? lastSeq
    const parkings = delivered.parked.map(({ seq, reason }) => ({ seq: Number(seq), reason }))
    if (!bugs.settleFirst) window = await settle(window, afterSeq, parkings)
  }

  async function onFailure(error: unknown): Promise<void> {
    if (!(error instanceof Failure) || window === null) throw error
    const at = window
    window = await process.call(catalog.server, () => cursors.recordAttempt(owner, at))
    if (window !== null) await process.pause(backoffMs({ attempt: window.attempts, ...backoff }))
  }
  function settle(at: Window, afterSeq: number, parkings: readonly Parked[]): Promise<Window | null> {
    return process.call(catalog.server, () => cursors.settle(owner, at, afterSeq, parkings))
  }
}

async function send({ process, broker, refuses, bugs }: RelayContext, rows: readonly Row[]): Promise<void> {
  const [first] = rows
  if (first === undefined) return
  const sent = bugs.backwards ? [...rows].reverse() : rows
  await process.call(broker.server, () => broker.produce(first.shard, sent, refuses))
}

const eventOf = (row: Row) => ({ ...storedOf(row), topic: 'catalog-events' })

const rowsOf = (page: readonly Row[], events: readonly { seq: string }[]): Row[] => {
  const seqs = new Set(events.map(({ seq }) => Number(seq)))
  return page.filter(({ seq }) => seqs.has(seq))
}

/** An outage is waited out; anything else is a bug of the simulation. @returns whether it went well. */
export async function orOutage(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work()
    return true
  } catch (error) {
    if (error instanceof Failure && error.retryable) return false
    throw error
  }
}
