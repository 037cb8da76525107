import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { type Start, aloneBelow, startAlone } from './start.ts'

const records = (...offsets: number[]) => offsets.map((offset) => ({ offset: BigInt(offset) }))
const note = (from: number, to: number, starts: number): Start => ({
  from: BigInt(from),
  to: BigInt(to),
  starts,
})

describe('a partition that is taken over', () => {
  it('has its batch handled as a whole where nobody began it', () => {
    expect(aloneBelow(null, undefined, records(5, 6, 7))).toBe(0n)
  })

  it('has it handled record by record where another process began it, up to where that one had it in hand', () => {
    expect(aloneBelow(note(5, 7, 1), undefined, records(5, 6, 7, 8))).toBe(7n)
  })

  it('has it handled as a whole where this process began it and lives, or the note is of other records', () => {
    expect(aloneBelow(note(5, 7, 1), note(5, 7, 1), records(5, 6, 7, 8))).toBe(0n)
    expect(aloneBelow(note(4, 7, 1), undefined, records(5, 6, 7, 8))).toBe(0n)
  })

  it('has a single record handled alone in any case', () => {
    expect(aloneBelow(null, undefined, records(5))).toBe(6n)
  })
})

describe('a record that is handled alone', () => {
  it('is counted at each start of another process, and parked at the third', () => {
    expect(startAlone(null, undefined, 5n)).toEqual(note(5, 6, 1))
    expect(startAlone(note(5, 6, 1), undefined, 5n)).toEqual(note(5, 6, 2))
    expect(startAlone(note(5, 6, 2), undefined, 5n)).toBe('park')
  })

  it('is not counted again by the process that began it and lives', () => {
    expect(startAlone(note(5, 6, 2), note(5, 6, 2), 5n)).toEqual(note(5, 6, 2))
  })

  it('is not charged with what it was in hand with, nor with the records of another note', () => {
    expect(startAlone(note(5, 9, 1), undefined, 5n)).toEqual(note(5, 6, 1))
    expect(startAlone(note(4, 5, 2), undefined, 5n)).toEqual(note(5, 6, 1))
  })
})

/**
 * Processes one after the other over one partition; `kills` says after how many steps each is killed from outside. A
 * step is one transaction. Killers kill at each try.
 */
function run(count: number, killers: ReadonlySet<number>, kills: readonly number[]) {
  const partition = { mark: 0, noted: null as Start | null }
  const parked: number[] = []
  const aloneWhenKilled: number[] = []
  for (let process = 0; partition.mark < count; process += 1) {
    let left = kills[process] ?? Infinity
    const step = () => (left -= 1) >= 0
    let below: bigint | undefined
    living: while (partition.mark < count) {
      const batch = records(...Array.from({ length: Math.min(8, count - partition.mark) }, (_, i) => partition.mark + i)) // prettier-ignore
      const end = partition.mark + batch.length
      if (below === undefined) {
        below = aloneBelow(partition.noted, undefined, batch)
        if (below === 0n) partition.noted = note(partition.mark, end, 1)
      }
      if (BigInt(partition.mark) < below) {
        const start = startAlone(partition.noted, undefined, BigInt(partition.mark))
        if (start === 'park') parked.push(partition.mark)
        else {
          partition.noted = start
          if (killers.has(partition.mark)) break living
          if (!step()) {
            aloneWhenKilled.push(partition.mark)
            break living
          }
        }
        partition.mark += 1
      } else {
        if (!step() || batch.some(({ offset }) => killers.has(Number(offset)))) break living
        partition.mark = end
      }
      partition.noted = null
    }
    expect(process).toBeLessThan(500)
  }
  return { parked, aloneWhenKilled }
}

describe('for any records that kill, and any kills from outside', () => {
  it('exactly the ones that kill are parked, unless the kills hit one innocent record alone time after time', () => {
    const killers = fc.uniqueArray(fc.nat(29), { maxLength: 3 })
    const kills = fc.array(fc.nat(12), { maxLength: 12 })
    fc.assert(
      fc.property(killers, kills, (bad, when) => {
        const { parked, aloneWhenKilled } = run(30, new Set(bad), when)
        const unlucky = new Set(aloneWhenKilled.filter((one, i) => aloneWhenKilled.indexOf(one) !== i))
        expect(parked.filter((one) => !unlucky.has(one))).toEqual(bad.sort((a, b) => a - b))
      }),
      { numRuns: 500 },
    )
  })
})
