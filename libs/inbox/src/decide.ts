import type { LikeEvent } from '@likewise/events'
import { type Judgement, type Parked, parkBehind } from './judgement.ts'

/**
 * What is handled and what parks, in offset order: a record that blocks its key takes the key's later events with
 * it; other keys flow. Pure, but for `blocked`, which grows.
 */
export function decide(
  judged: readonly Judgement[],
  blocked: Set<string>,
  resolved: ReadonlySet<bigint>,
): { events: LikeEvent[]; parked: Parked[] } {
  const events: LikeEvent[] = []
  const parked: Parked[] = []
  for (const one of judged) {
    if (one.kind === 'foreign') continue
    if (one.kind === 'parked') {
      if (resolved.has(one.record.offset)) continue
      parked.push(one)
      if (one.blocksKey && one.record.key !== null) blocked.add(one.record.key)
    } else if (one.record.key !== null && blocked.has(one.record.key)) {
      if (!resolved.has(one.record.offset)) parked.push(parkBehind(one.record, one.event))
    } else {
      events.push(one.event)
    }
  }
  return { events, parked }
}
