import type { OutboxEvent } from '../page.ts'

export interface WalBatch {
  /** In commit order; empty when only the position has moved. */
  readonly events: readonly OutboxEvent[]
  /**
   * What may be confirmed once these events, and all of the batches before, are acknowledged: the end of the last
   * transaction that is whole, or further when the server said that nothing else was committed. 0 before the first.
   */
  readonly lsn: bigint
}

interface Entry {
  readonly event: OutboxEvent
  readonly bytes: number
  /** Known only for the last event of a transaction: the commit comes behind it. */
  lsn: bigint | null
}

/** Events between the socket and the relay, with the positions that may be confirmed behind them. */
export function walQueue() {
  let entries: Entry[] = []
  /** Entries before this one are taken; they are cut off now and then, since shifting an array moves all of it. */
  let first = 0
  let bytes = 0
  let given = 0n
  /** Behind the last event taken, when the queue is empty. */
  let reached = 0n

  return {
    bytes: (): number => bytes,
    rows: (): number => entries.length - first,
    push(event: OutboxEvent, size: number): void {
      entries.push({ event, bytes: size, lsn: null })
      bytes += size
    },
    /** Everything pushed so far is all there was below `lsn`. */
    reach(lsn: bigint): void {
      const last = entries.length > first ? entries[entries.length - 1] : undefined
      if (last) last.lsn = lsn
      else if (lsn > reached) reached = lsn
    },
    hasNews: (): boolean => entries.length > first || reached > given,
    /** At most so many rows and bytes, but at least one row if there is any. */
    take(limits: { rowsMax: number; bytesMax: number }): WalBatch {
      const events: OutboxEvent[] = []
      let size = 0
      for (; events.length < limits.rowsMax; first += 1) {
        const entry = entries[first]
        if (!entry) break
        if (events.length > 0 && size + entry.bytes > limits.bytesMax) break
        size += entry.bytes
        events.push(entry.event)
        if (entry.lsn !== null && entry.lsn > reached) reached = entry.lsn
      }
      bytes -= size
      if (first === entries.length) [entries, first] = [[], 0]
      else if (first > 10_000) [entries, first] = [entries.slice(first), 0]
      given = reached
      return { events, lsn: given }
    },
  }
}
