import { type LikeEvent, decode } from '@likewise/events'
import type { InboxRecord } from '../judgement.ts'
import type { DeadLetter, WholeLetter } from '../letter.ts'
import { forcedEventOf } from '../queue.ts'

/** A record of the log as a rebuild holds it until it is counted. */
export type LogEntry = { readonly offset: bigint; readonly timeMs: number } & (
  { readonly kind: 'event'; readonly event: LikeEvent } | { readonly kind: 'foreign' | 'unreadable' }
)

/** What of a dead letter decides whether its event is counted. Its record may be a megabyte, and is not kept. */
export interface Verdict extends Pick<
  DeadLetter,
  'id' | 'partition' | 'offset' | 'eventId' | 'blocksKey' | 'resolvedAt' | 'resolution'
> {
  /** As a redrive or a discard reads it that was forced; null where it waits, or cannot be read. */
  readonly event: LikeEvent | null
}

/** Consecutive entries of one partition. */
export interface LogPiece {
  readonly partition: number
  /** Where the rebuild is believed to stand in the partition. */
  readonly from: bigint
  readonly entries: readonly LogEntry[]
}

/** Its age is nobody's business here: what was too old to be told from its duplicate has a dead letter. Pure. */
export function entryOf(record: InboxRecord): LogEntry {
  const { offset, timeMs } = record
  const decoded = decode(record)
  if (decoded.kind === 'event') return { offset, timeMs, kind: 'event', event: decoded.event }
  return { offset, timeMs, kind: decoded.kind === 'foreign' ? 'foreign' : 'unreadable' }
}

/**
 * What of the log the model counts, in order; the same event may be in it several times. Where a record has a dead letter,
 * that decides: one that waits is not counted, one that was redriven is, as it was redriven, and one that was discarded is
 * not, nor is any copy of it that came later. All records lie before the mark of the live model, so what they have no
 * letter for was handled. Pure.
 *
 * @param letters those at the places of the entries, and discarded ones of the same events wherever they lie.
 */
export function countable(
  pieces: readonly LogPiece[],
  letters: readonly Verdict[],
): { events: LikeEvent[]; unreadable: number } {
  const discards = discardsOf(letters)
  const places = new Map(letters.map((letter) => [placeOf(letter.partition, letter.offset), letter]))
  const events: LikeEvent[] = []
  let unreadable = 0
  for (const { partition, entries } of pieces) {
    for (const entry of entries) {
      const letter = places.get(placeOf(partition, entry.offset))
      if (letter) events.push(...redrivenOf(letter, discards))
      else if (entry.kind === 'unreadable') unreadable += 1
      else if (entry.kind === 'event') {
        const given = discards.get(entry.event.id) ?? []
        if (!given.some((one) => isBefore(one, partition, entry))) events.push(entry.event)
      }
    }
  }
  return { events, unreadable }
}

/** The events of letters that were redriven, wherever they lie; in the order given. Pure. */
export function countableLetters(redriven: readonly Verdict[], discarded: readonly Verdict[]): LikeEvent[] {
  const discards = discardsOf(discarded)
  return redriven.flatMap((letter) => redrivenOf(letter, discards))
}

const placeOf = (partition: number, offset: bigint): string => `${String(partition)}@${String(offset)}`

/** Pure. */
export function verdictOf(letter: WholeLetter): Verdict {
  const { id, partition, offset, eventId, blocksKey, resolvedAt, resolution } = letter
  return {
    id,
    partition,
    offset,
    eventId,
    blocksKey,
    resolvedAt,
    resolution,
    event: resolution && forcedEventOf(letter),
  }
}

/** One that cannot be read gave up no event: a mended copy with the same id may come. */
function discardsOf(letters: readonly Verdict[]): Map<string, Verdict[]> {
  const discards = new Map<string, Verdict[]>()
  for (const letter of letters) {
    if (letter.resolution !== 'discarded' || letter.event === null) continue
    const { id } = letter.event
    discards.set(id, [...(discards.get(id) ?? []), letter])
  }
  return discards
}

function redrivenOf(letter: Verdict, discards: ReadonlyMap<string, readonly Verdict[]>): LikeEvent[] {
  const { event } = letter
  if (letter.resolution !== 'redriven' || event === null) return []
  const resolvedMs = (one: Verdict) => one.resolvedAt?.getTime() ?? Infinity
  // Within one transaction letters are discarded first, and then what waited behind them is redriven.
  const given = discards.get(event.id) ?? []
  return given.some((one) => resolvedMs(one) <= resolvedMs(letter)) ? [] : [event]
}

/**
 * Whether a letter was given up before this copy of its event was handled. A letter that blocked its key: before everything
 * that comes after it in its partition and did not park. One that stood alone says nothing by its place; there the times do.
 */
function isBefore(discarded: Verdict, partition: number, entry: LogEntry): boolean {
  if (discarded.blocksKey && discarded.partition === partition) return discarded.offset < entry.offset
  return (discarded.resolvedAt?.getTime() ?? Infinity) < entry.timeMs
}
