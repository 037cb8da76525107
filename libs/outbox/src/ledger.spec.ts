import { describe, expect, it } from '@jest/globals'
import { daysCovered } from './ledger.ts'

// Day 100 has slot 0, day 99 slot 9 and so on.
const covered = (...slots: number[]) => daysCovered(100, new Set(slots))

describe('how far back the outbox is whole', () => {
  it('is since yesterday at least, for those two days are never purged', () => {
    expect(covered()).toBe(1)
    expect(covered(0, 9)).toBe(1)
  })

  it('is as far as days follow each other without a gap', () => {
    expect(covered(0, 9, 8, 7, 6)).toBe(4)
    expect(covered(8, 7)).toBe(3)
    expect(covered(0, 9, 7, 6, 5)).toBe(1)
  })

  it('is no further than the ring', () => {
    expect(covered(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)).toBe(9)
  })
})
