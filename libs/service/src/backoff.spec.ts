import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { backoffMs } from './backoff.ts'

const almostOne = () => 1 - Number.EPSILON

describe('backoffMs', () => {
  it('doubles the longest wait with every attempt until the cap', () => {
    const longest = [1, 2, 3, 4, 5, 6].map((attempt) =>
      backoffMs({ attempt, baseMs: 100, capMs: 1_000, random: almostOne }),
    )
    expect(longest).toEqual([99, 199, 399, 799, 999, 999])
  })

  it('waits somewhere between nothing and the cap, at any attempt', () => {
    fc.assert(
      fc.property(
        fc.nat(),
        fc.integer({ min: 1, max: 10_000 }),
        fc.integer({ min: 1, max: 60_000 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (attempt, baseMs, capMs, drawn) => {
          const ms = backoffMs({ attempt, baseMs, capMs, random: () => drawn })
          expect(Number.isInteger(ms)).toBe(true)
          expect(ms).toBeGreaterThanOrEqual(0)
          expect(ms).toBeLessThanOrEqual(capMs)
        },
      ),
    )
  })
})
