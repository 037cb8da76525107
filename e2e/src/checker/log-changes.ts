import type { CommittedEvent, LogChange } from './history.ts'

/**
 * Why an event may have had its effect before an earlier one of its (user, product): something that was done to the topic.
 * That excuses no more than it explains: the effect came after it, and
 *  - of added partitions: the key has moved, and its two records lie apart (or nobody can tell any more, the log is gone);
 *  - of a topic that was made again: the event was written before all were sent once more. What comes after is in order.
 */
export function whyOvertaken(
  changes: readonly LogChange[],
  { event, step, areApart }: { event: CommittedEvent; step: number; areApart: boolean },
): LogChange | undefined {
  return changes.find((change, i) => {
    if (step < change.after) return false
    if (change.kind === 'made again') return event.seq <= change.untilSeq
    const isLogGone = changes.slice(i + 1).some(({ kind }) => kind === 'made again')
    return change.moved.includes(event.productId) && (areApart || isLogGone)
  })
}

/** The same of first copies on the topic, as it is now: why one lies apart from an earlier one, or before it. */
export const whyMisplaced = (
  changes: readonly LogChange[],
  { event, areApart }: { event: CommittedEvent; areApart: boolean },
): LogChange | undefined =>
  changes.find((change) =>
    change.kind === 'made again'
      ? !areApart && event.seq <= change.untilSeq
      : areApart && change.moved.includes(event.productId),
  )
