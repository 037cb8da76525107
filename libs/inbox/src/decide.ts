import type { LikeEvent } from '@likewise/events'
import { type Judgement, type Parked, parkBehind } from './judgement.ts'

export interface Known {
  /** Keys that wait for a redrive. */
  readonly blocked: Set<string>
  /** Offsets that were parked before and are resolved. */
  readonly resolved: ReadonlySet<bigint>
  /** Ids, of those that `suspectsOf` names, that had their effect. */
  readonly handled: ReadonlySet<string>
}

/**
 * What is handled and what parks, in offset order: a record that blocks its key takes the key's later events with
 * it; other keys flow. A copy of what had its effect waits for nothing: where a mark was lost, everything that a key's
 * first letter had before it comes again. Pure, but for `blocked`, which grows.
 */
export function decide(
  judged: readonly Judgement[],
  { blocked, resolved, handled }: Known,
): { events: LikeEvent[]; parked: Parked[] } {
  const events: LikeEvent[] = []
  const parked: Parked[] = []
  for (const one of judged) {
    if (one.kind === 'foreign') continue
    if (one.kind === 'parked') {
      if (resolved.has(one.record.offset)) continue
      parked.push(one)
      if (one.blocksKey && one.record.key !== null) blocked.add(one.record.key)
    } else if (one.record.key !== null && blocked.has(one.record.key) && !handled.has(one.event.id)) {
      if (!resolved.has(one.record.offset)) parked.push(parkBehind(one.record, one.event))
    } else {
      events.push(one.event)
    }
  }
  return { events, parked }
}

/** Events that may have to wait behind another of their key. Pure. */
export function suspectsOf(judged: readonly Judgement[], blocked: ReadonlySet<string>): LikeEvent[] {
  const blocking = new Set(
    judged.flatMap((one) => (one.kind === 'parked' && one.blocksKey ? [one.record.key] : [])),
  )
  return judged.flatMap((one) => {
    if (one.kind !== 'event' || one.record.key === null) return []
    return blocked.has(one.record.key) || blocking.has(one.record.key) ? [one.event] : []
  })
}
