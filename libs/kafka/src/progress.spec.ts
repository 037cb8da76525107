import { describe, expect, it } from '@jest/globals'
import { type LogPosition, buildProgress } from './progress.ts'

const log = (partition: number, end: bigint, committed: bigint | null = null, start = 0n): LogPosition => ({
  partition,
  start,
  end,
  committed,
})

describe('the lag of a member', () => {
  it('is nothing, and known, for a member without partitions', () => {
    expect(buildProgress().lag(1_000)).toEqual({
      partitions: [],
      records: 0,
      known: true,
      oldestWaitingMs: 0,
    })
  })

  it('counts from what the group has committed, else from the beginning of the log', () => {
    const progress = buildProgress()
    progress.assign([0, 1, 2])
    expect(progress.lag(0)).toMatchObject({ records: 0, known: false })
    progress.told([log(0, 10n, 4n), log(1, 10n, null, 7n), log(2, 5n, 5n), log(3, 100n, 0n)], 1_000)
    expect(progress.lag(4_000)).toEqual({
      partitions: [
        { partition: 0, records: 6 },
        { partition: 1, records: 3 },
        { partition: 2, records: 0 },
      ],
      records: 9,
      known: true,
      oldestWaitingMs: 3_000,
    })
  })

  it('believes what this member has handled before what the broker was told', () => {
    const progress = buildProgress()
    progress.assign([0])
    progress.told([log(0, 10n, 0n)], 0)
    progress.handled(0, { next: 10n, end: 12n, newestMs: 500 })
    progress.told([log(0, 12n, 3n)], 1_000)
    expect(progress.lag(2_000)).toMatchObject({ records: 2, oldestWaitingMs: 1_500 })
    progress.handled(0, { next: 12n, end: 12n, newestMs: 900 })
    expect(progress.lag(2_000)).toMatchObject({ records: 0, oldestWaitingMs: 0 })
  })

  it('tells the age of the record in hand, which is the oldest that waits', () => {
    const progress = buildProgress()
    progress.assign([0, 1])
    progress.told([log(0, 5n), log(1, 5n)], 90_000)
    progress.begun(1, 10_000)
    expect(progress.lag(100_000).oldestWaitingMs).toBe(90_000)
  })

  it('is never less than nothing: a log that was made anew ends before the mark', () => {
    const progress = buildProgress()
    progress.assign([0])
    progress.told([log(0, 3n, 1_000n)], 0)
    expect(progress.lag(0).records).toBe(0)
  })

  it('forgets with each assignment, since another may have moved on meanwhile', () => {
    const progress = buildProgress()
    progress.assign([0])
    progress.handled(0, { next: 5n, end: 9n, newestMs: 0 })
    const before = progress.generation()
    progress.assign([0, 1])
    expect(progress.generation()).not.toBe(before)
    expect(progress.lag(0)).toMatchObject({ records: 0, known: false })
    progress.told([log(0, 9n, 9n), log(1, 2n, 2n)], 0)
    expect(progress.lag(0)).toMatchObject({ records: 0, known: true })
  })
})
