import { buildLimit } from '@likewise/service'
import { describe, expect, it } from '@jest/globals'
import { buildGathering } from './gathering.ts'

const settle = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)))

describe('a gathering', () => {
  function station() {
    const runs: number[][] = []
    const ends: ((error?: Error) => void)[] = []
    const gathered = buildGathering<number, number>((items) => {
      runs.push([...items])
      return new Promise((resolve, reject) =>
        ends.push((error) => {
          if (error) reject(error)
          else resolve(items.map((item) => item * 10))
        }),
      )
    })
    return { runs, ends, gathered }
  }

  it('puts together what comes at once, and what comes while a run is under way; each gets its own result', async () => {
    const { runs, ends, gathered } = station()
    const first = [gathered(1), gathered(2)]
    await settle()
    const later = [gathered(3), gathered(4)]
    await settle()
    expect(runs).toEqual([[1, 2]])
    ends[0]?.()
    expect(await Promise.all(first)).toEqual([10, 20])
    await settle()
    expect(runs).toEqual([
      [1, 2],
      [3, 4],
    ])
    ends[1]?.()
    expect(await Promise.all(later)).toEqual([30, 40])
  })

  it('goes on after a run that failed, which fails for all that were in it and for nobody else', async () => {
    const { ends, gathered } = station()
    const outcomes = Promise.allSettled([gathered(1), gathered(2)])
    await settle()
    const later = gathered(3)
    ends[0]?.(new Error('away'))
    expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    await settle()
    ends[1]?.()
    expect(await later).toBe(30)
    const last = gathered(4)
    await settle()
    ends[2]?.()
    expect(await last).toBe(40)
  })
})

describe('a limit', () => {
  it('runs so many at once at most, in the order they came, and is not used up by failures', async () => {
    const limited = buildLimit(2)
    const ends: (() => void)[] = []
    let [now, most] = [0, 0]
    const order: number[] = []
    const work = (n: number) => async () => {
      most = Math.max(most, (now += 1))
      order.push(n)
      await new Promise<void>((resolve) => ends.push(resolve))
      now -= 1
      if (n % 2 === 0) throw new Error('failed')
    }
    const all = Promise.allSettled([0, 1, 2, 3, 4].map((n) => limited(work(n))))
    for (let ended = 0; ended < 5; ended += 1) {
      await settle()
      ends[ended]?.()
    }
    await all
    expect([most, order]).toEqual([2, [0, 1, 2, 3, 4]])
  })
})
