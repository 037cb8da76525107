import fc from 'fast-check'
import { expect, it } from '@jest/globals'
import { mixed } from './log-faults.ts'
import { buildRandom } from './plan.ts'

const records = fc
  .array(fc.constantFrom('1', '2', '3', null), { maxLength: 40 })
  .map((keys) => keys.map((key, at) => ({ key, at })))

it('records in another order: all of them, and those of each key in theirs', () => {
  fc.assert(
    fc.property(fc.nat(), records, (seed, given) => {
      const order = mixed(buildRandom(seed), given)
      expect(order.toSorted((a, b) => a.at - b.at)).toEqual(given)
      for (const key of new Set(given.map((record) => record.key))) {
        const own = order.filter((record) => record.key === key)
        expect(own).toEqual(given.filter((record) => record.key === key))
      }
    }),
  )
  const twenty = Array.from({ length: 20 }, (_, at) => ({ key: String(at % 4), at }))
  expect(mixed(buildRandom(1), twenty)).not.toEqual(twenty)
})
