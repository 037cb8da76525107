import { Failure } from '@likewise/service'
import { type ShardContext, counting, tellFenced } from './shard.ts'
import { settleWhole } from './step.ts'
import type { OpenedWindow } from './window.ts'

/** A send of several shards is as slow as the slowest of their brokers: beyond this, each of them goes alone for a while. */
const slowMs = 500
const aloneMs = 10_000

/**
 * Small windows of several shards, published in one send and settled in one statement: the ordinary case of a relay that
 * keeps up, where a send and a settle for each shard would be most of the latency and of the work.
 */
export function buildTogether(context: ShardContext) {
  const { db, owner, leases, log } = context
  const aloneUntil = new Map<number, number>()

  return {
    /** The window came with all of its events, none of its keys is held back, and its shard is not slow. */
    mayGo: ({ shard, events, lastSeq, holdsBack }: OpenedWindow): boolean =>
      BigInt(events?.at(-1)?.seq ?? 0) === lastSeq &&
      !holdsBack &&
      performance.now() >= (aloneUntil.get(shard) ?? 0),

    /** @returns those whose send failed: each is published alone then, which waits outages out and finds what is refused. */
    async publish(windows: readonly OpenedWindow[]): Promise<readonly OpenedWindow[]> {
      const own = windows.filter(({ shard, epoch }) => leases.current(shard, epoch) !== undefined)
      if (own.length === 0) return []
      const begunMs = performance.now()
      try {
        await counting(context)(own.flatMap(({ events }) => events ?? []))
      } catch (error) {
        if (!(error instanceof Failure)) throw error
        log.warn({ err: error, shards: own.map(({ shard }) => shard) }, 'windows not published together')
        return own
      } finally {
        const nowMs = performance.now()
        if (nowMs - begunMs > slowMs) for (const { shard } of own) aloneUntil.set(shard, nowMs + aloneMs)
      }
      const settled = new Set(await settleWhole(db, owner, own))
      for (const window of own.filter(({ shard }) => !settled.has(shard))) tellFenced(context, window)
      return []
    },
  }
}
