import { describe, expect, it } from '@jest/globals'
import { pacing } from './pacing.ts'

const limits = { pollMinMs: 1, pollMaxMs: 60_000, backoffBaseMs: 60_000, backoffCapMs: 60_000 }

async function isShort(rest: Promise<void>): Promise<boolean> {
  const startedMs = performance.now()
  await rest
  return performance.now() - startedMs < 5_000
}

describe('the rest between two polls', () => {
  it('is short after work was found, and doubles while there is none, up to the longest', async () => {
    const pace = pacing({ ...limits, pollMinMs: 20, pollMaxMs: 80 }, new AbortController().signal)
    const rests: number[] = []
    for (const found of [1, 0, 0, 0, 1]) {
      const startedMs = performance.now()
      await pace.rest(found)
      rests.push(performance.now() - startedMs)
    }
    // with a jitter of a quarter; timers are late, never early by more than a millisecond
    const [first, second, third, fourth] = rests as [number, number, number, number]
    expect(first).toBeGreaterThanOrEqual(14)
    expect(second).toBeGreaterThanOrEqual(29)
    expect(third).toBeGreaterThanOrEqual(59)
    expect(fourth).toBeGreaterThanOrEqual(59)
  })

  it('ends when somebody is in a hurry, before it or in it, and after a failure too', async () => {
    const pace = pacing(limits, new AbortController().signal)
    pace.hurry()
    expect(await isShort(pace.rest('failed'))).toBe(true)
    const rest = pace.rest('failed')
    setTimeout(pace.hurry, 50)
    expect(await isShort(rest)).toBe(true)
  })

  it('ends when the relay stops, and none begins after that', async () => {
    const stopping = new AbortController()
    const pace = pacing(limits, stopping.signal)
    const rest = pace.rest('failed')
    setTimeout(() => {
      stopping.abort()
    }, 50)
    expect(await isShort(rest)).toBe(true)
    expect(await isShort(pace.rest('failed'))).toBe(true)
  })
})
