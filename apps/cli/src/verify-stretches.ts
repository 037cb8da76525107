import type { Bucket } from '@likewise/metrics'

const lengthsMs = { minute: 60_000, hour: 3_600_000, day: 86_400_000 }
type Resolution = keyof typeof lengthsMs

/** Likes and unlikes in a stretch of time. */
export interface Stretch {
  readonly startMs: number
  readonly resolution: Resolution
  added: number
  removed: number
}

const floorTo = (ms: number, resolution: Resolution): number =>
  Math.floor(ms / lengthsMs[resolution]) * lengthsMs[resolution]

/**
 * What a product's buckets say of the time since `coveredFromMs`, as stretches of time that do not overlap: minutes, but where
 * some of an hour (or a day) have been rolled up, all of it. Pure.
 */
export function stretchesOf(buckets: readonly Bucket[], coveredFromMs: number) {
  const starts = (resolution: Resolution) =>
    new Set(buckets.flatMap((one) => (one.resolution === resolution ? one.start.getTime() : [])))
  const [days, hours] = [starts('day'), starts('hour')]
  const found = new Map<number, Stretch>()

  /** The stretch that a moment lies in; null where it is not covered as a whole. */
  function at(ms: number): Stretch | null {
    const resolution = days.has(floorTo(ms, 'day'))
      ? 'day'
      : hours.has(floorTo(ms, 'hour'))
        ? 'hour'
        : 'minute'
    const startMs = floorTo(ms, resolution)
    if (!(startMs >= coveredFromMs)) return null
    const known = found.get(startMs)
    if (known) return known
    const made: Stretch = { startMs, resolution, added: 0, removed: 0 }
    found.set(startMs, made)
    return made
  }

  let net = 0
  for (const { start, added, removed } of buckets) {
    net += Number(added - removed)
    const stretch = at(start.getTime())
    if (!stretch) continue
    stretch.added += Number(added)
    stretch.removed += Number(removed)
  }
  return {
    at,
    all: (): Stretch[] => [...found.values()],
    /** Likes minus unlikes of all buckets, also of those that are not covered. */
    net,
  }
}
