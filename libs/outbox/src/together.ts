import { Failure } from '@likewise/service'
import { type ShardContext, counting } from './shard.ts'
import { settleWhole } from './step.ts'
import { type OpenedWindow } from './window.ts'

/** May go out with windows of other shards: it came with its events, and none of its keys is held back. */
export const isSmall = (window: OpenedWindow): boolean => window.events !== null && !window.holdsBack

/**
 * Publishes small windows of several shards in one send, and settles them in one statement: the ordinary case of a relay
 * that keeps up, where a send and a settle for each shard would be most of the latency and of the work.
 *
 * @returns those whose send failed: each is published by itself then, which waits outages out and finds what is refused.
 */
export async function publishTogether(
  context: ShardContext,
  windows: readonly OpenedWindow[],
): Promise<readonly OpenedWindow[]> {
  const { db, owner, leases, log, telemetry } = context
  const own = windows.filter(({ shard, epoch }) => leases.current(shard, epoch) !== undefined)
  if (own.length === 0) return []
  try {
    await counting(context)(own.flatMap(({ events }) => events ?? []))
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    log.warn({ err: error, shards: own.map(({ shard }) => shard) }, 'windows not published together')
    return own
  }
  const settled = new Set(await settleWhole(db, owner, own))
  for (const { shard, epoch } of own.filter((window) => !settled.has(window.shard))) {
    telemetry.fencedWrites.inc()
    log.warn({ shard, epoch: String(epoch) }, 'cursor moved by another relay')
  }
  return []
}
