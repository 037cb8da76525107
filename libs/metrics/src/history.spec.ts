import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { pointsFrom, pointsOf } from './history.ts'

describe('the points of a history', () => {
  it('are one for each step, with zeros where nothing happened', () => {
    const points = pointsFrom({ from: 0, to: 180, step: 60 }, 7, [[60, 3, 1]])
    expect(points).toEqual([
      { start: '1970-01-01T00:00:00.000Z', added: 0, removed: 0, likeCount: 7 },
      { start: '1970-01-01T00:01:00.000Z', added: 3, removed: 1, likeCount: 9 },
      { start: '1970-01-01T00:02:00.000Z', added: 0, removed: 0, likeCount: 9 },
    ])
  })

  it('add up to what was counted, whatever happened', () => {
    const sums = fc.uniqueArray(fc.tuple(fc.nat(50), fc.nat(9), fc.nat(9)), { selector: ([n]) => n })
    fc.assert(
      fc.property(sums, fc.integer({ min: -100, max: 100 }), (found, before) => {
        const starts = found.map(([n, added, removed]) => [n * 300, added, removed] as const)
        const points = pointsFrom({ from: 0, to: 51 * 300, step: 300 }, before, starts)
        const net = found.reduce((sum, [, added, removed]) => sum + added - removed, before)
        expect(points).toHaveLength(51)
        expect(points.at(-1)?.likeCount).toBe(net)
      }),
    )
  })

  it.each([
    ['2026-11-22T10:00:00Z', '2026-11-22T11:00:00Z', '1m', 60],
    ['2026-11-22T10:59:59Z', '2026-11-22T11:00:01Z', '1h', 2],
    ['2026-11-22T10:00:00Z', '2026-11-22T10:00:00.001Z', '1d', 1],
    ['0001-01-01T00:00:00Z', '9999-12-31T23:59:59Z', '1m', 5_258_964_960],
  ] as const)('from %s to %s in steps of %s are %i', (from, to, step, points) => {
    expect(pointsOf({ productId: 1, fromMs: Date.parse(from), toMs: Date.parse(to), step })).toBe(points)
  })
})
