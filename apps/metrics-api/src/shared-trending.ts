import type { TrendingWindow } from '@likewise/metrics'

export interface SharedTrending<T> {
  trending: T
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
export function shareTrending<T>(
  read: (window: TrendingWindow) => Promise<T>,
  nowMs = () => performance.now(),
): (window: TrendingWindow) => Promise<SharedTrending<T>> {
  const shared = new Map<TrendingWindow, { answer: Promise<SharedTrending<T>>; freshUntilMs: number }>()
  return (window) => {
    const known = shared.get(window)
    if (known && nowMs() < known.freshUntilMs) return known.answer
    const begunMs = nowMs()
    const entry = { answer: read(window).then(done, failed), freshUntilMs: Number.POSITIVE_INFINITY }
    shared.set(window, entry)
    return entry.answer

    function done(trending: T): SharedTrending<T> {
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
