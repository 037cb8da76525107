import type { LogEntry, LogPiece } from '@likewise/inbox'
import { Failure, pause } from '@likewise/service'

export interface Stand {
  readonly nextOffset: bigint
  readonly lastEventId: string | null
}

/** What is read and not yet counted: two steps, so that one is read while the other is counted. */
const entriesMax = 6_000

/** So long a partition waits for room before the others have their turn. */
const roomMs = 200

/** The record before the first one that is wanted says whether it is the same log. */
function requireSameLog(
  { topic, partition }: { topic: string; partition: number },
  entry: LogEntry | undefined,
  { nextOffset, lastEventId }: Stand,
): void {
  if (entry?.offset !== nextOffset - 1n || lastEventId === null) return
  const id = entry.kind === 'event' ? entry.event.id : 'no event'
  if (id === lastEventId) return
  throw new Failure(
    'CONFLICT',
    `Partition ${String(partition)} of ${topic} holds ${id} at offset ${String(entry.offset)} instead of ${lastEventId}: ` +
      'the topic was made again. Drop the rebuild (likewise rebuild --drop), and begin with a snapshot that is newer ' +
      'than that (likewise snapshot list).',
  )
}

/**
 * Holds what was read of each partition, in order, until it is taken. Reading may be ahead of the live model, as counting
 * must not be.
 */
export function buildReadAhead(topic: string, stands: ReadonlyMap<number, Stand>) {
  const held = new Map<number, LogEntry[]>()
  const stand = new Map(stands)
  let total = 0
  let tell: () => void = () => undefined
  let told = new Promise<void>((resolve) => (tell = resolve))
  const changed = (): void => {
    tell()
    told = new Promise<void>((resolve) => (tell = resolve))
  }
  const standOf = (partition: number): Stand => stand.get(partition) ?? { nextOffset: 0n, lastEventId: null }

  return {
    /** Where a reader should begin: a record earlier, to see that it is the same log. */
    readFrom: (): Map<number, bigint> =>
      new Map(
        [...stand].map(([partition, { nextOffset }]) => [partition, nextOffset > 0n ? nextOffset - 1n : 0n]),
      ),

    async push(partition: number, entries: readonly LogEntry[]): Promise<boolean> {
      const mine = held.get(partition) ?? []
      held.set(partition, mine)
      if (total >= entriesMax && mine.length > 0) await Promise.race([told, pause(roomMs)])
      if (total >= entriesMax && mine.length > 0) return false
      const { nextOffset } = standOf(partition)
      const wanted = entries.filter((entry) => entry.offset >= nextOffset)
      requireSameLog({ topic, partition }, entries[0], standOf(partition))
      mine.push(...wanted)
      total += wanted.length
      changed()
      return true
    },

    /** Up to so many entries that lie before the marks; they count as taken with `done`. */
    take(marks: ReadonlyMap<number, bigint>, entriesAtOnceMax: number): LogPiece[] {
      const pieces: LogPiece[] = []
      let left = entriesAtOnceMax
      for (const [partition, entries] of held) {
        const mark = marks.get(partition) ?? 0n
        const beyond = entries.findIndex(({ offset }) => offset >= mark)
        const count = Math.min(left, beyond < 0 ? entries.length : beyond)
        if (count > 0) {
          const { nextOffset } = standOf(partition)
          pieces.push({ partition, from: nextOffset, entries: entries.slice(0, count) })
        }
        left -= count
      }
      return pieces
    },

    done(pieces: readonly LogPiece[]): void {
      for (const { partition, entries } of pieces) {
        const last = entries.at(-1)
        if (!last) continue
        held.get(partition)?.splice(0, entries.length)
        total -= entries.length
        stand.set(partition, {
          nextOffset: last.offset + 1n,
          lastEventId: last.kind === 'event' ? last.event.id : null,
        })
      }
      changed()
    },

    /** The offset after the last one that was read. */
    readTo(partition: number): bigint {
      const last = held.get(partition)?.at(-1)
      return last ? last.offset + 1n : standOf(partition).nextOffset
    },
    nextOf: (partition: number): bigint => standOf(partition).nextOffset,
    /** Resolves when something was read, or after so long. */
    changed: (ms: number): Promise<void> => Promise.race([told, pause(ms)]),
  }
}

export type ReadAhead = ReturnType<typeof buildReadAhead>
