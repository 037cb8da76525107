import { Failure } from '@likewise/service'
import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { carryOut, verdictOf } from './carry-out.ts'

const failure = (code: 'DATABASE_BUSY' | 'DATABASE_REFUSED' | 'DATABASE_UNAVAILABLE', sqlstate?: string) =>
  new Failure(code, 'As PostgreSQL says it.', sqlstate === undefined ? {} : { details: { sqlstate } })
const violation = failure('DATABASE_REFUSED', '23514')
const blocked = failure('DATABASE_BUSY', '55P03')
const deadlock = failure('DATABASE_BUSY', '40P01')
const lost = failure('DATABASE_UNAVAILABLE')

/** Carries out numbers with a database that says to each batch what `says` does. */
async function carriedOut(
  items: readonly number[],
  says: (batch: readonly number[], run: number) => Error | undefined,
) {
  const told = new Map<number, 'done' | Error>()
  const aside: number[] = []
  const runs: { batch: readonly number[]; lockWaitMs: number }[] = []
  await carryOut<number, number>(items, {
    run: (batch, lockWaitMs) => {
      runs.push({ batch, lockWaitMs })
      const error = says(batch, runs.length)
      return error ? Promise.reject(error) : Promise.resolve(batch.map((n) => n * 10))
    },
    tell: (item, outcome) => {
      expect(told.has(item)).toBe(false)
      if ('result' in outcome) expect(outcome.result).toBe(item * 10)
      told.set(item, 'error' in outcome ? outcome.error : 'done')
    },
    setAside: (item) => aside.push(item),
  })
  return { told, aside, runs }
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i)

describe('a batch that PostgreSQL refuses', () => {
  it('fails for those that are bad, is kept for those that are blocked, and has its effect for all others', async () => {
    const kinds = fc.array(fc.constantFrom('good', 'good', 'good', 'bad', 'blocked'), {
      minLength: 1,
      maxLength: 64,
    })
    await fc.assert(
      fc.asyncProperty(kinds, async (kindOf) => {
        fc.pre(kindOf.filter((kind) => kind === 'blocked').length <= 2)
        const { told, aside, runs } = await carriedOut(range(kindOf.length), (batch) => {
          if (batch.some((n) => kindOf[n] === 'bad')) return violation
          return batch.some((n) => kindOf[n] === 'blocked') ? blocked : undefined
        })
        kindOf.forEach((kind, n) => {
          expect(told.get(n)).toBe(kind === 'good' ? 'done' : kind === 'bad' ? violation : undefined)
          expect(aside.includes(n)).toBe(kind === 'blocked')
        })
        // No item is ever run again after a run of it was kept.
        const kept = runs
          .filter(({ batch }) => batch.every((n) => kindOf[n] === 'good'))
          .flatMap(({ batch }) => batch)
        expect(new Set(kept).size).toBe(kept.length)
      }),
    )
  })

  it('costs two statements for each time it has to be halved, when one of 256 is bad', async () => {
    const { runs } = await carriedOut(range(256), (batch) => (batch.includes(77) ? violation : undefined))
    expect(runs).toHaveLength(1 + 2 * 8)
  })

  it('waits less for a lock once it is known that one is held, and gives up where everything is locked', async () => {
    const { told, aside, runs } = await carriedOut(range(256), () => blocked)
    expect(runs.map(({ lockWaitMs }) => lockWaitMs).slice(0, 3)).toEqual([100, 20, 20])
    const waited = runs.reduce((sum, { lockWaitMs }) => sum + lockWaitMs, 0)
    expect(told.size + aside.length).toBe(256)
    expect(waited).toBeLessThan(1_000)
  })

  it('is tried again after a deadlock, a few times, and then halved', async () => {
    const twice = await carriedOut(range(8), (_, run) => (run <= 2 ? deadlock : undefined))
    expect([...twice.told.values()]).toEqual(range(8).map(() => 'done'))
    expect(twice.runs).toHaveLength(3)
    const always = await carriedOut(range(2), () => deadlock)
    expect([...always.told.values()]).toEqual([deadlock, deadlock])
    expect(always.runs).toHaveLength(15)
  })
})

describe('a batch whose outcome is unknown', () => {
  it('is not run again', async () => {
    const { told, runs } = await carriedOut(range(8), () => lost)
    expect(runs).toHaveLength(1)
    expect([...told.values()]).toEqual(range(8).map(() => lost))
  })

  it('is not run again either where the server said that it ends', () => {
    const ended = failure('DATABASE_UNAVAILABLE', '57P01')
    expect(verdictOf(ended, { size: 8, attempt: 1, lockTimeouts: 0 })).toBe('fail')
  })
})

describe('a batch that failed for all of them', () => {
  it.each([
    ['a bug', new TypeError('x is not a function')],
    ['a statement that took too long', failure('DATABASE_BUSY', '57014')],
    ['a full disk', failure('DATABASE_UNAVAILABLE', '53100')],
  ])('is not taken apart: %s', (_, error) => {
    expect(verdictOf(error, { size: 8, attempt: 1, lockTimeouts: 0 })).toBe('fail')
  })
})
