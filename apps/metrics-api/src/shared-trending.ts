import type { Trending, TrendingWindow } from '@likewise/metrics'

export interface SharedTrending {
  trending: Trending
  /** How long it is shared, from when it was read. */
  maxAgeMs: number
}

const freshMsMin = 1_000
const freshMsMax = 60_000
/** What an answer took to read, so many times: trending then takes a twentieth of one connection at most. */
const restFactor = 19

/**
 * One answer for everybody who asks about the same window: whoever comes while it is read waits for it, whoever comes
 * within its time gets it. Holds one answer per window. A failure is shared for a second.
 */
export function shareTrending(
  read: (window: TrendingWindow) => Promise<Trending>,
  nowMs = () => performance.now(),
): (window: TrendingWindow) => Promise<SharedTrending> {
  const shared = new Map<TrendingWindow, { answer: Promise<SharedTrending>; freshUntilMs: number }>()
  return (window) => {
    const known = shared.get(window)
    if (known && nowMs() < known.freshUntilMs) return known.answer
    const begunMs = nowMs()
    const entry = { answer: read(window).then(done, failed), freshUntilMs: Number.POSITIVE_INFINITY }
    shared.set(window, entry)
    return entry.answer

    function done(trending: Trending): SharedTrending {
      const endedMs = nowMs()
      const maxAgeMs = Math.min(freshMsMax, Math.max(freshMsMin, (endedMs - begunMs) * restFactor))
      entry.freshUntilMs = endedMs + maxAgeMs
      return { trending, maxAgeMs }
    }
    function failed(error: unknown): never {
      entry.freshUntilMs = nowMs() + freshMsMin
      throw error
    }
  }
}
