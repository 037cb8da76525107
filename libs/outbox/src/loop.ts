import type { Database } from '@likewise/database'
import { Failure, backoffMs, pause } from '@likewise/service'
import type { HeldLease, Leases } from './leases.ts'
import { readMarkedShards } from './parked.ts'
import { moveParked } from './redrive.ts'
import { pacing } from './pacing.ts'
import { type ShardContext, publishWindow } from './shard.ts'
import { buildTogether } from './together.ts'
import { type OpenedWindow, nextWindows } from './window.ts'

interface LoopOptions {
  context: ShardContext
  wal: { moveMarked: () => Promise<void> }
  marks: Marks
  /** Waits an outage out; anything else is a bug and ends the service. @returns 0, what was found meanwhile. */
  waitFor: (error: unknown) => number
}

/** Looks for work in the shards that are held and idle, more rarely the longer there is none. */
export function buildLoop({ context, wal, marks, waitFor }: LoopOptions) {
  const { db, owner, leases, limits, stopping } = context
  const pace = pacing(limits, stopping)
  const work = shardWork(context, waitFor, pace.hurry)
  const together = buildTogether(context)
  // Twelve of them are a few pages, and far from what one send may hold.
  const smallWindow = {
    rowsMax: Math.ceil(limits.pageRowsMax / 4),
    bytesMax: Math.min(Math.ceil(limits.pageBytesMax / 4), 1_000_000),
  }

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
    const windows = await nextWindows(db, owner, idle, smallWindow)
    const small = windows.filter(together.mayGo)
    if (small.length > 0) {
      const shards = small.map(({ shard }) => shard)
      work.begin(shards, async () => publishEach(await together.publish(small)))
    }
    publishEach(windows.filter((window) => !small.includes(window)))
    return windows.length
  }

  function publishEach(windows: readonly OpenedWindow[]): void {
    for (const window of windows) work.begin([window.shard], () => publishWindow(context, window))
  }

  /** Parked events that somebody wants moved come before the window of their shard. */
  async function moveMarked(): Promise<void> {
    await marks.refresh()
    const idle = leases.usable().filter(({ shard }) => !work.busy.has(shard))
    for (const { shard } of idle.filter((lease) => marks.has(lease.shard))) {
      work.begin([shard], async () => {
        const isDone = await moveParked(context, shard)
        if (isDone) marks.done(shard)
        return isDone
      })
    }
  }

  async function pollAll(): Promise<number> {
    await moveMarked()
    return poll()
  }

  /** The outbox is read from the WAL: no window is opened. */
  async function standBy(): Promise<number> {
    await wal.moveMarked()
    return 0
  }

  async function run(): Promise<void> {
    while (!stopping.aborted) {
      await leases.giveBackIdle(work.busy)
      try {
        await pace.rest(leases.mode() === 'poll' ? await pollAll() : await standBy())
      } catch (error) {
        waitFor(error)
        await pace.rest('failed')
      }
    }
    while (work.busy.size > 0) await Promise.all(work.busy.values())
  }

  return { run }
}

// A person waits for it, but a query on every poll would cost more than it is worth.
const marksEveryMs = 2_000

export type Marks = ReturnType<typeof watchMarks>

/**
 * The shards in which parked events are to be moved. A shard that is newly held is always looked at once: whoever had it
 * before may have been killed in the middle of a key.
 */
export function watchMarks(db: Database, leases: Leases) {
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

/** One piece of work per shard at a time, of one shard or several. `busy` holds the shards that are worked on. */
function shardWork(context: ShardContext, waitFor: (error: unknown) => void, finished: () => void) {
  const { backoffBaseMs: baseMs, backoffCapMs: capMs } = context.limits
  const busy = new Map<number, Promise<void>>()
  const failuresOf = new Map<number, number>()

  /** The shards stay busy through their backoff: a page that cannot be settled must not be sent again at once. */
  async function run(shards: readonly number[], work: () => Promise<unknown>): Promise<unknown> {
    try {
      const done = await work()
      for (const shard of shards) failuresOf.delete(shard)
      return done
    } catch (error) {
      waitFor(error)
      const attempt = Math.max(...shards.map((shard) => failuresOf.get(shard) ?? 0)) + 1
      for (const shard of shards) failuresOf.set(shard, attempt)
      await pause(backoffMs({ attempt, baseMs, capMs, random: Math.random }), context.stopping)
      return undefined
    }
  }

  return {
    busy,
    /** `work` says false where it could do nothing: the shards need no other look at once. */
    begin(shards: readonly number[], work: () => Promise<unknown>): void {
      const running = run(shards, work).then((done) => {
        // Unless the work has begun other work for the shard.
        for (const shard of shards) if (busy.get(shard) === running) busy.delete(shard)
        if (done !== false) finished()
      })
      for (const shard of shards) busy.set(shard, running)
    },
  }
}
