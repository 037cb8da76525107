import type { Trending, TrendingWindow } from '@likewise/metrics'
import { describe, expect, it } from '@jest/globals'
import { shareTrending } from './shared-trending.ts'

const trendingOf = (window: TrendingWindow, from: number): Trending => ({
  window,
  from: String(from),
  to: '',
  products: [],
})

function shared(tookMs: number) {
  const clock = { ms: 0 }
  const reads: TrendingWindow[] = []
  const read = async (window: TrendingWindow): Promise<Trending> => {
    reads.push(window)
    await Promise.resolve()
    clock.ms += tookMs
    return trendingOf(window, clock.ms)
  }
  return { clock, reads, ask: shareTrending(read, () => clock.ms) }
}

describe('trending', () => {
  it('is read once for all who ask at the same time, and for each window by itself', async () => {
    const { ask, reads } = shared(5)
    const answers = await Promise.all([ask('1h'), ask('1h'), ask('5m'), ask('1h')])
    expect(reads).toEqual(['1h', '5m'])
    expect(answers[0]).toBe(answers[3])
  })

  it.each([
    [5, 1_000],
    [200, 3_800],
    [100_000, 60_000],
  ])('that took %i ms is shared for %i ms, and read again after that', async (tookMs, freshMs) => {
    const { ask, clock, reads } = shared(tookMs)
    const first = await ask('24h')
    expect(first.maxAgeMs).toBe(freshMs)
    clock.ms += freshMs - 1
    expect(await ask('24h')).toBe(first)
    clock.ms += 1
    expect(await ask('24h')).not.toBe(first)
    expect(reads).toHaveLength(2)
  })

  it('that could not be read is tried again after a second, not by every caller', async () => {
    const clock = { ms: 0 }
    let reads = 0
    const ask = shareTrending(
      () => {
        reads += 1
        return reads === 1 ? Promise.reject(new Error('away')) : Promise.resolve(trendingOf('1h', 0))
      },
      () => clock.ms,
    )
    await expect(ask('1h')).rejects.toThrow('away')
    await expect(ask('1h')).rejects.toThrow('away')
    expect(reads).toBe(1)
    clock.ms = 1_000
    await expect(ask('1h')).resolves.toMatchObject({ maxAgeMs: 1_000 })
  })
})
