/** A partition's log and how far the group has it, as the broker tells. */
export interface LogPosition {
  partition: number
  /** Of the log: its first offset, and the one that the next record will get. */
  start: bigint
  end: bigint
  /** The offset the group reads next; null: it has told none. */
  committed: bigint | null
}

interface Held {
  /** What is read next; null until it is known. */
  next: bigint | null
  end: bigint
  /** `next` is what this member has read to, which the broker's word follows. */
  own: boolean
  /** The broker's time of the oldest record that waits, as well as it is known; null: none does. */
  waitingSinceMs: number | null
}

export interface Lag {
  /** Records that wait, by partition. */
  partitions: { partition: number; records: number }[]
  records: number
  /** False until the broker has been asked after an assignment. */
  known: boolean
  oldestWaitingMs: number
}

export type Progress = ReturnType<typeof buildProgress>

/** How far a member is in the partitions it holds. Knows no clock and asks nobody. */
export function buildProgress() {
  let held = new Map<number, Held>()
  let generation = 0

  return {
    /** Forgets all positions: who held a partition meanwhile may have moved on. */
    assign(partitions: readonly number[]): void {
      generation += 1
      const unknown = { next: null, end: 0n, own: false, waitingSinceMs: null }
      held = new Map(partitions.map((partition) => [partition, { ...unknown }]))
    },

    partitions: (): number[] => [...held.keys()],
    /** An answer that was asked for in an earlier generation is nobody's. */
    generation: (): number => generation,

    begun(partition: number, oldestMs: number): void {
      const one = held.get(partition)
      if (one) one.waitingSinceMs = oldestMs
    },

    /** `newestMs`: the broker's time of the last record before `next`; what is behind it came later. */
    handled(
      partition: number,
      { next, end, newestMs }: { next: bigint; end: bigint; newestMs: number },
    ): void {
      const one = held.get(partition)
      if (!one) return
      Object.assign(one, { next, own: true, end: larger(one.end, end) })
      one.waitingSinceMs = next < one.end ? newestMs : null
    },

    told(positions: readonly LogPosition[], nowMs: number): void {
      for (const { partition, start, end, committed } of positions) {
        const one = held.get(partition)
        if (!one) continue
        // Not the larger of both: the log may have been made anew, and its end gone back.
        one.end = end
        if (!one.own) one.next = committed ?? start
        if (one.next !== null && one.next >= end) one.waitingSinceMs = null
        else one.waitingSinceMs ??= nowMs
      }
    },

    lag(nowMs: number): Lag {
      const partitions = [...held].map(([partition, { next, end }]) => ({
        partition,
        records: next === null || next > end ? 0 : Number(end - next),
      }))
      const since = [...held.values()].flatMap(({ waitingSinceMs }) => waitingSinceMs ?? [])
      return {
        partitions,
        records: partitions.reduce((sum, { records }) => sum + records, 0),
        known: [...held.values()].every(({ next }) => next !== null),
        oldestWaitingMs: Math.max(0, nowMs - Math.min(nowMs, ...since)),
      }
    },
  }
}

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b)
