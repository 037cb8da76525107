import { decode } from '@likewise/events'
import type { InboxRecord } from './judgement.ts'
import type { Mark } from './offsets.ts'

/** A batch as the broker gave it, by what tells one log from another. */
export interface LogView {
  /** Of the batch's first and last record. */
  readonly first: bigint
  readonly last: bigint
  /** The offset that the partition's next record will get, as of the fetch: that may be older than the mark. */
  readonly logEnd: bigint
  /** The event before the mark, if the batch holds that record: null where it is no event. */
  readonly beforeMark?: string | null
}

/** A batch by what `checkLog` asks of it, but for the log's end. Pure. */
export function viewOf(
  records: readonly InboxRecord[],
  { nextOffset }: Pick<Mark, 'nextOffset'>,
): Omit<LogView, 'logEnd'> {
  const before = records.find(({ offset }) => offset === nextOffset - 1n)
  const decoded = before && decode(before)
  return {
    first: records[0]?.offset ?? 0n,
    last: records.at(-1)?.offset ?? 0n,
    ...(decoded && { beforeMark: decoded.kind === 'event' ? decoded.event.id : null }),
  }
}

/** What was looked at again, when the mark stood there. */
export interface Look {
  /** The record before the mark, or where the log ends. */
  readonly of: 'record' | 'end'
  readonly nextOffset: bigint
}

export type LogCheck =
  /** It is the log of the mark, or nothing speaks against it. `missing`: records that it no longer holds, at most. */
  | { readonly kind: 'same'; readonly missing: bigint }
  /** To be told by what is read from there. */
  | { readonly kind: 'look'; readonly from: bigint; readonly look: Look }
  /** It is another log, or has lost its end. */
  | { readonly kind: 'replaced'; readonly why: string }

/**
 * Whether the log that a partition has is still the one whose records the mark counts. A topic that was deleted and
 * made again (or lost its end with a broker) begins to count anew: what lies below the mark there is not what was
 * handled, and would be passed over in silence. And the mark decides where reading goes on, not the offset that the
 * broker keeps for the group: a database that was restored is behind that one. Pure.
 *
 * A batch may have waited in a process that slept while others moved the mark on: in the very same log, the end that came
 * with it then lies before the mark. Only an end that was fetched after the mark was read says otherwise.
 *
 * @param looked the batch is what came of that look; the same one again would find nothing more.
 */
export function checkLog(
  { nextOffset, lastEventId }: Pick<Mark, 'nextOffset' | 'lastEventId'>,
  { first, last, logEnd, beforeMark }: LogView,
  looked: Look | null,
): LogCheck {
  const look = (of: Look['of'], from: bigint): LogCheck => ({ kind: 'look', from, look: { of, nextOffset } })
  const isAhead = first > nextOffset && looked?.of !== 'record'
  if (nextOffset <= 0n) return isAhead ? look('record', 0n) : { kind: 'same', missing: 0n }
  if (looked !== null && logEnd < looked.nextOffset) {
    return {
      kind: 'replaced',
      why: `the log ends at ${String(logEnd)}, before the offset ${String(looked.nextOffset)} that was reached`,
    }
  }
  // From its last record, which is there in either log, so that nobody waits for the next one.
  if (logEnd < nextOffset) return look('end', logEnd > 0n ? logEnd - 1n : 0n)
  if (beforeMark !== undefined) {
    if (lastEventId === null || beforeMark === lastEventId) return { kind: 'same', missing: 0n }
    return {
      kind: 'replaced',
      why: `offset ${String(nextOffset - 1n)} holds ${beforeMark ?? 'no event'} instead of ${lastEventId}`,
    }
  }
  const tellable = lastEventId !== null && !(first < nextOffset && last >= nextOffset - 1n)
  if (isAhead || (tellable && looked?.of !== 'record')) return look('record', nextOffset - 1n)
  return { kind: 'same', missing: first > nextOffset ? first - nextOffset : 0n }
}
