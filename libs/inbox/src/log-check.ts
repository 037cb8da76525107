import { createHash } from 'node:crypto'
import { type HeaderValue, decode } from '@likewise/events'
import type { InboxRecord } from './judgement.ts'
import type { Mark } from './offsets.ts'

/** A batch as the broker gave it, by what tells one log from another. */
export interface LogView {
  /** Of the batch's first and last record. */
  readonly first: bigint
  readonly last: bigint
  /** The offset that the partition's next record will get, as of the fetch: that may be older than the mark. */
  readonly logEnd: bigint
  /** What the record before the mark is known by, if the batch holds it. */
  readonly beforeMark?: readonly string[]
}

/**
 * What a record is known by at its place: by the id of its event, and, whatever it is, by a hash of all there is of it. A
 * topic that was made again may hold the same bytes there, but not since the same millisecond.
 */
export function namesOf(record: InboxRecord): [hash: string, ...eventId: string[]] {
  const { offset, key, value, timeMs, headers } = record
  const hash = createHash('sha256').update(JSON.stringify([key, timeMs, Object.entries(headers).map(textOf)]))
  const name = `${String(offset)}:${hash.update(value ?? 'none').digest('hex').slice(0, 32)}` // prettier-ignore
  const decoded = decode(record)
  return decoded.kind === 'event' ? [name, decoded.event.id] : [name]
}

const textOf = ([name, value]: [string, HeaderValue]): unknown => [
  name,
  Array.isArray(value) ? value.map(base64) : base64(value as Exclude<HeaderValue, readonly unknown[]>),
]

const base64 = (value: Uint8Array | string | null | undefined): string | null =>
  value == null ? null : Buffer.from(value as string).toString('base64')

/** A batch by what `checkLog` asks of it, but for the log's end. Pure. */
export function viewOf(
  records: readonly InboxRecord[],
  { nextOffset }: Pick<Mark, 'nextOffset'>,
): Omit<LogView, 'logEnd'> {
  const before = records.find(({ offset }) => offset === nextOffset - 1n)
  return {
    first: records[0]?.offset ?? 0n,
    last: records.at(-1)?.offset ?? 0n,
    ...(before && { beforeMark: namesOf(before) }),
  }
}

/** What was looked at again, when the mark stood there. */
export interface Look {
  /** The record before the mark, where the log ends, or whether it has an offset such as the mark's. */
  readonly of: 'record' | 'end' | 'reach'
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
 * That an end which came with a batch lies before the mark says little. The batch may have waited in a process that slept
 * while others moved the mark on; or a broker became the partition's leader that has all records and does not know yet
 * that the other replicas have them, so that it shows an earlier end than its predecessor did, for moments or for
 * `replica.lag.time.max.ms` (30 s). So the mark's own offset is asked for: a leader that has got so far, whatever it
 * shows, makes the reader wait there; one that has not, says that there is no such offset, and reading begins anew. What
 * was handled had been acknowledged by all replicas in sync: where a leader does not have it, it is lost (an unclean
 * election, a power cut) or the topic was made again. Which of the two it is makes no difference: either way other
 * records come to lie at these offsets.
 *
 * What cannot be told apart, since a fetch of kafkajs names neither the topic's id nor the leader's epoch: a former leader
 * that is cut off from the others and still answers this reader. Its log is shorter, and is taken for one that lost its
 * end; the price is a log that is read twice.
 *
 * @param looked the batch is what came of that look; the same one again would find nothing more.
 */
export function checkLog(
  { nextOffset, lastRecord }: Pick<Mark, 'nextOffset' | 'lastRecord'>,
  { first, last, logEnd, beforeMark }: LogView,
  looked: Look | null,
): LogCheck {
  const look = (of: Look['of'], from: bigint): LogCheck => ({ kind: 'look', from, look: { of, nextOffset } })
  const isAhead = first > nextOffset && looked?.of !== 'record'
  if (nextOffset <= 0n) return isAhead ? look('record', 0n) : { kind: 'same', missing: 0n }
  if (logEnd < nextOffset) {
    // From its last record, which is there in either log, so that nobody waits for the next one.
    if (looked === null || logEnd >= looked.nextOffset) return look('end', logEnd > 0n ? logEnd - 1n : 0n)
    if (looked.of === 'end') return look('reach', nextOffset)
    return {
      kind: 'replaced',
      why: `the log ends at ${String(logEnd)}, before the offset ${String(looked.nextOffset)} that was reached`,
    }
  }
  if (beforeMark !== undefined) {
    if (lastRecord === null || beforeMark.includes(lastRecord)) return { kind: 'same', missing: 0n }
    const [name, eventId] = beforeMark
    return {
      kind: 'replaced',
      why: `offset ${String(nextOffset - 1n)} holds ${eventId ?? `no event (${String(name)})`} instead of ${lastRecord}`,
    }
  }
  const tellable = lastRecord !== null && !(first < nextOffset && last >= nextOffset - 1n)
  if (isAhead || (tellable && looked?.of !== 'record')) return look('record', nextOffset - 1n)
  return { kind: 'same', missing: first > nextOffset ? first - nextOffset : 0n }
}
