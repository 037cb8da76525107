/** A partition as it was found: the mark as of `at`, and the log's end as it was told after that. */
export interface Sighting {
  readonly partition: number
  /** By the database's clock, in microseconds. */
  readonly at: bigint
  /** What the consumer reads next. */
  readonly next: bigint
  /** Of the log: its first offset, and the one that its next record will get. */
  readonly start: bigint
  readonly end: bigint
}

interface Sample {
  at: bigint
  end: bigint
}

/** Steps of a hundredth of a backlog's time, however long it is: the most crowded one goes. */
const samplesMax = 256

/**
 * Finds out how far a partition is counted. A sighting by itself says so only where nothing waits; under load the mark is
 * always a little behind. So ends are remembered: when the mark has passed an end, all that lay in the log at the time
 * of it is counted. Says nothing that offsets do not prove. Pure.
 */
export function buildWatermarks() {
  const samples = new Map<number, Sample[]>()
  /** Marks that lay behind the end of their log: of another log, as long as they stay there. */
  const foreign = new Map<number, bigint>()

  return {
    /** @returns the time through which the partition is counted, where this sighting proves a newer one. */
    see({ partition, at, next, start, end }: Sighting): bigint | null {
      const known = samples.get(partition) ?? []
      const last = known.at(-1)
      // The log is not the one it was: what ends were remembered is of another.
      if (last && end < last.end) known.length = 0
      if (last?.end === end) last.at = at
      else known.push({ at, end })
      if (known.length > samplesMax) known.splice(mostCrowded(known), 1)
      samples.set(partition, known)
      // A mark behind the end is of another log too, and proves nothing about this one, nor when this one has grown to it.
      if (next > end) foreign.set(partition, next)
      if (foreign.get(partition) === next) return null
      foreign.delete(partition)
      // What expired before it was read can be counted by nobody.
      const counted = next > start ? next : start
      const passed = known.findLastIndex((sample) => sample.end <= counted)
      if (passed < 0) return null
      const [proof] = known.splice(0, passed + 1).slice(-1)
      return proof?.at ?? null
    },
  }
}

/** The one, neither the first nor the last, without which the smallest gap is left. */
function mostCrowded(samples: readonly Sample[]): number {
  let [found, smallest] = [1, -1n]
  for (let i = 1; i < samples.length - 1; i += 1) {
    const gap = (samples[i + 1]?.at ?? 0n) - (samples[i - 1]?.at ?? 0n)
    if (smallest < 0n || gap < smallest) [found, smallest] = [i, gap]
  }
  return found
}
