import { describe, expect, it } from '@jest/globals'
import { latenciesOf, scheduleOf, wallBetween } from './latency.ts'

const commitsEvery = (ms: number, lateMs: (i: number) => number) =>
  Array.from({ length: 1_000 }, (_, i) => ({ id: String(i), dueMs: i * ms, atMs: i * ms + lateMs(i) }))

describe('latency', () => {
  it('counts from the commit to the end of the broker millisecond, and never less than nothing', () => {
    const commits = [
      { id: 'a', dueMs: 0, atMs: 10.25 },
      { id: 'b', dueMs: 0, atMs: 20.5 },
    ]
    const appendedMs = new Map([
      ['a', 1_015],
      ['b', 1_018],
      ['of the warm-up', 1_000],
    ])
    expect(latenciesOf(commits, { appendedMs, wallOf: (atMs) => 1_000 + atMs })).toEqual([5.75, 0])
  })

  it('does not pass over an event that never came', () => {
    const options = { appendedMs: new Map<string, number>(), wallOf: (atMs: number) => atMs }
    expect(() => latenciesOf([{ id: 'lost', dueMs: 0, atMs: 1 }], options)).toThrow('Event lost')
  })

  it('follows a system clock that runs faster than the process', () => {
    const wallOf = wallBetween({ atMs: 1_000, offsetMs: 500 }, { atMs: 21_000, offsetMs: 504 })
    expect([wallOf(1_000), wallOf(11_000), wallOf(21_000)]).toEqual([1_500, 11_502, 21_504])
  })
})

describe('the schedule of a load', () => {
  it('is kept where commits take a few milliseconds', () => {
    const { achieved, warning } = scheduleOf(
      commitsEvery(2, () => 3),
      500,
    )
    expect(achieved).toBeCloseTo(500, -1)
    expect(warning).toBe('')
  })

  it('is not kept where a hundredth comes late, or where the load gets slower and slower', () => {
    const some = scheduleOf(
      commitsEvery(2, (i) => (i % 50 === 0 ? 150 : 3)),
      500,
    )
    expect(some.warning).toContain('THE WRITER FELL BEHIND its 500/s')
    const growing = scheduleOf(
      commitsEvery(2, (i) => i / 12),
      500,
    )
    expect(growing.achieved).toBeLessThan(490)
    expect(growing.warning).toContain('FELL BEHIND')
  })
})
