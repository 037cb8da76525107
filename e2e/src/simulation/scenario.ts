import fc from 'fast-check'
import type { Scenario } from './simulate.ts'

const id = fc.integer({ min: 1, max: 3 })
const atMs = fc.integer({ min: 0, max: 1_500 })

/** Few users and products, so that they meet; mostly no fault at a time, now and then several. */
export const scenarios: fc.Arbitrary<Scenario> = fc.record({
  clients: fc.array(
    fc.array(
      fc.record({
        userId: id,
        productId: id,
        liked: fc.boolean(),
        pauseMs: fc.constantFrom(0, 2, 20, 100),
      }),
      { minLength: 1, maxLength: 12, size: 'max' },
    ),
    { minLength: 1, maxLength: 4, size: 'max' },
  ),
  choices: fc.array(choice(), { maxLength: 400, size: 'max' }),
  refused: fc.oneof(
    { weight: 4, arbitrary: fc.constant([]) },
    { weight: 1, arbitrary: fc.array(id, { maxLength: 1 }) },
  ),
  garbage: fc.oneof(
    { weight: 4, arbitrary: fc.constant([]) },
    { weight: 1, arbitrary: fc.array(fc.record({ productId: id, atMs }), { maxLength: 2 }) },
  ),
  outages: fc.oneof(
    { weight: 3, arbitrary: fc.constant([]) },
    {
      weight: 1,
      arbitrary: fc.array(
        fc.record({
          server: fc.constantFrom('catalog' as const, 'broker' as const, 'inbox' as const),
          atMs,
          ms: fc.integer({ min: 1, max: 1_000 }),
        }),
        { maxLength: 2 },
      ),
    },
  ),
  lags: rarely(
    fc.array(
      fc.record({ atMs, ms: fc.integer({ min: 1, max: 1_000 }), records: fc.integer({ min: 1, max: 12 }) }),
      { maxLength: 2 },
    ),
  ),
  replaysAtMs: rarely(fc.array(atMs, { maxLength: 2 })),
  redrivesAtMs: rarely(fc.array(atMs, { maxLength: 2 })),
})

/** A sixth of all requests has a fate of its own. */
function choice(): fc.Arbitrary<number> {
  return fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(255) })
}

/** In one of five. */
function rarely<T>(some: fc.Arbitrary<T[]>): fc.Arbitrary<T[]> {
  return fc.oneof({ weight: 4, arbitrary: fc.constant<T[]>([]) }, { weight: 1, arbitrary: some })
}
