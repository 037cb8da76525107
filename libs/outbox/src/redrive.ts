import type { OutboxEvent } from './page.ts'
import { type WaitingEvent, readKeysToMove, readWaiting } from './parked.ts'
import { type ShardContext, holdCursor, nothingHeldBack } from './shard.ts'
import { resolveParked } from './step.ts'
import { readCursor } from './window.ts'

/**
 * Moves what is parked in one shard as somebody has asked: drops what is marked so, then sends, key by key and in
 * order, what is marked and what waited behind it. Done by the shard's owner between two pages of its window, and each
 * move is a step of the cursor: so a key is free again exactly when its last parked event is acknowledged.
 *
 * @returns false when it had to leave something for later.
 */
export async function moveParked(context: ShardContext, shard: number): Promise<boolean> {
  const { db, log } = context
  const epoch = context.leases.epochOf(shard)
  if (epoch === undefined) return false
  const cursor = holdCursor(context, await readCursor(db, shard), epoch)
  const keys = await readKeysToMove(db, shard)
  if (keys.length === 0) return true
  const dropMarked = { redriven: [], refused: [], discardMarked: true }
  if (!(await cursor.step((holder, at) => resolveParked(db, holder, at, dropMarked)))) return false
  for (const key of keys) {
    let more = true
    while (more) {
      if (cursor.mustLeave()) return false
      const waiting = await readWaiting(db, shard, key, context.limits)
      const events = sendableOf(waiting)
      if (events.length === 0) break
      // A person asked for this try; if it is refused again, a person decides again.
      const delivered = await cursor.deliver(events, nothingHeldBack(), { attemptsMax: 1 })
      if (delivered === null) return false
      const refused = delivered.parked.filter(({ reason }) => reason === 'refused')
      const parked = new Set(delivered.parked.map(({ seq }) => seq))
      const redriven = events.slice(0, delivered.done).map(({ seq }) => seq).filter((seq) => !parked.has(seq)) // prettier-ignore
      if (!(await cursor.step((holder, at) => resolveParked(db, holder, at, { redriven, refused }))))
        return false
      log.info({ shard, key, redriven, refused: refused.map(({ seq }) => seq) }, 'parked events moved')
      more = refused.length === 0
    }
  }
  return true
}

/**
 * Of a key's parked events, in order, those to send now: up to the first refused one that nobody wants redriven, since
 * what waits behind that must go on waiting; or the first that is to be dropped, which the next look does. Pure.
 */
export function sendableOf(waiting: readonly WaitingEvent[]): OutboxEvent[] {
  const head = waiting.findIndex(
    ({ reason, mark }) => mark === 'discard' || (reason === 'refused' && mark !== 'redrive'),
  )
  return waiting.slice(0, head === -1 ? undefined : head).map(({ event }) => event)
}
