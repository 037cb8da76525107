import * as fc from 'fast-check'
import { describe, expect, it } from '@jest/globals'
import { buildWatermarks } from './watermarks.ts'

function partition() {
  const watermarks = buildWatermarks()
  return (at: number, next: number, end: number, start = 0) =>
    watermarks.see({
      partition: 0,
      at: BigInt(at),
      next: BigInt(next),
      start: BigInt(start),
      end: BigInt(end),
    })
}

describe('how far a partition is counted', () => {
  it('is now, while nothing waits in it, also where it never had a record', () => {
    const see = partition()
    expect([see(1, 0, 0), see(2, 0, 0), see(3, 7, 7)]).toEqual([1n, 2n, 3n])
  })

  it('is the time at which the mark was the end, where records keep coming', () => {
    const see = partition()
    expect([see(1, 0, 5), see(2, 4, 9), see(3, 6, 20), see(4, 25, 30)]).toEqual([null, null, 1n, 3n])
  })

  it('stands still while the partition is stuck, and goes on when it is read again', () => {
    const see = partition()
    expect(see(1, 5, 5)).toBe(1n)
    expect([see(2, 5, 6), see(3, 5, 8), see(4, 5, 8)]).toEqual([null, null, null])
    expect(see(5, 6, 8)).toBe(2n)
    expect(see(6, 8, 8)).toBe(6n)
  })

  it('is not known from a mark that belongs to another log, nor from ends of one', () => {
    const see = partition()
    expect(see(1, 90, 100)).toBe(null)
    expect([see(2, 90, 3), see(3, 90, 4)]).toEqual([null, null])
    // the mark was dropped, and the new log is read
    expect([see(4, 0, 4), see(5, 4, 6), see(6, 6, 6)]).toEqual([null, 4n, 6n])
  })

  it('is not known from such a mark either once the new log has grown to it', () => {
    const see = partition()
    expect([see(1, 90, 100), see(2, 90, 3), see(3, 90, 90), see(4, 90, 95)]).toEqual([null, null, null, null])
    // the mark was dropped, and the new log is read
    expect([see(5, 0, 95), see(6, 95, 95)]).toEqual([null, 6n])
  })

  it('does not wait for records that expired before they were read', () => {
    const see = partition()
    expect(see(1, 3, 20, 20)).toBe(1n)
    expect(see(2, 3, 22, 20)).toBe(null)
  })

  it('moves on in steps through a backlog of days, with what it remembers bounded', () => {
    const see = partition()
    for (let at = 1; at <= 20_000; at += 1) see(at, 0, at)
    let known = 0
    for (let mark = 200; mark < 20_000; mark += 200) {
      known = Number(see(20_000 + mark, mark, 20_000) ?? known)
      expect(known).toBeLessThanOrEqual(mark)
      expect(known).toBeGreaterThan(mark - 400)
    }
  })

  it('is never later than the truth, whatever is appended and read in between', () => {
    const step = fc.record({ appended: fc.nat(5), read: fc.nat(8), late: fc.nat(3) })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const see = partition()
        const endAt: number[] = []
        let [next, end] = [0, 0]
        for (const [at, { appended, read, late }] of steps.entries()) {
          end += appended
          endAt[at] = end
          next = Math.min(end, next + read)
          // records come between the look at the mark and the answer of the broker
          const proven = see(at, next, end + late)
          end += late
          if (proven !== null) expect(next).toBeGreaterThanOrEqual(endAt[Number(proven)] ?? 0)
        }
      }),
    )
  })
})
