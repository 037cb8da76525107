import type { Mark } from './offsets.ts'

/** A batch as the broker gave it, by what tells one log from another. */
export interface LogView {
  /** Of the batch's first and last record. */
  readonly first: bigint
  readonly last: bigint
  /** The offset that the partition's next record will get. */
  readonly logEnd: bigint
  /** The event before the mark, if the batch holds that record: null where it is no event. */
  readonly beforeMark?: string | null
}

export type LogCheck =
  /** It is the log of the mark, or nothing speaks against it. `missing`: records that it no longer holds, at most. */
  | { readonly kind: 'same'; readonly missing: bigint }
  /** To be told by the record before the mark: read from there. */
  | { readonly kind: 'look'; readonly from: bigint }
  /** It is another log, or has lost its end. */
  | { readonly kind: 'replaced'; readonly why: string }

/**
 * Whether the log that a partition has is still the one whose records the mark counts. A topic that was deleted and
 * made again (or lost its end with a broker) begins to count anew: what lies below the mark there is not what was
 * handled, and would be passed over in silence. And the mark decides where reading goes on, not the offset that the
 * broker keeps for the group: a database that was restored is behind that one. Pure.
 *
 * @param looked the batch is what came of a 'look'; another one would find nothing more.
 */
export function checkLog(
  { nextOffset, lastEventId }: Pick<Mark, 'nextOffset' | 'lastEventId'>,
  { first, last, logEnd, beforeMark }: LogView,
  looked: boolean,
): LogCheck {
  const isAhead = first > nextOffset && !looked
  if (nextOffset <= 0n) return isAhead ? { kind: 'look', from: 0n } : { kind: 'same', missing: 0n }
  if (logEnd < nextOffset) {
    return {
      kind: 'replaced',
      why: `the log ends at ${String(logEnd)}, before the offset ${String(nextOffset)} that was reached`,
    }
  }
  if (beforeMark !== undefined) {
    if (lastEventId === null || beforeMark === lastEventId) return { kind: 'same', missing: 0n }
    return {
      kind: 'replaced',
      why: `offset ${String(nextOffset - 1n)} holds ${beforeMark ?? 'no event'} instead of ${lastEventId}`,
    }
  }
  const tellable = lastEventId !== null && !(first < nextOffset && last >= nextOffset - 1n)
  if (isAhead || (tellable && !looked)) return { kind: 'look', from: nextOffset - 1n }
  return { kind: 'same', missing: first > nextOffset ? first - nextOffset : 0n }
}
