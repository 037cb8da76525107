import type { LikeEvent } from '@likewise/events'
import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { deltasOf } from './apply.ts'

const eventOf = (liked: boolean, productId: number, userId = 1): LikeEvent => ({
  type: liked ? 'catalog.like.added.v1' : 'catalog.like.removed.v1',
  id: '01936d2a-7c1f-7e3b-9a54-0f6c2d81b7e9',
  source: '/like-api',
  time: '2026-11-22T09:14:05Z',
  data: { userId, productId, createdAt: '2026-11-22T09:14:05Z' },
})

const histories = fc
  .array(
    fc.tuple(
      fc.boolean(),
      fc.oneof(
        fc.integer({ min: 1, max: 5 }),
        fc.maxSafeNat().map((n) => n || 1),
      ),
    ),
  )
  .map((steps) => steps.map(([liked, productId]) => eventOf(liked, productId)))

describe('what events change', () => {
  it('is one more per like and one less per unlike, per product', () => {
    const events = [
      eventOf(true, 2),
      eventOf(true, 1),
      eventOf(false, 2),
      eventOf(true, 1),
      eventOf(false, 3),
    ]
    expect(deltasOf(events)).toEqual([
      { productId: 1, delta: 2 },
      { productId: 2, delta: 0 },
      { productId: 3, delta: -1 },
    ])
  })

  it('counts two likes of one product with the same time as two', () => {
    expect(deltasOf([eventOf(true, 100, 1), eventOf(true, 100, 2)])).toEqual([{ productId: 100, delta: 2 }])
  })

  it('equals a recount of every product, whatever the history', () => {
    fc.assert(
      fc.property(histories, (events) => {
        const count = (productId: number, type: string) =>
          events.filter((event) => event.data.productId === productId && event.type === type).length
        const products = [...new Set(events.map(({ data }) => data.productId))]
        const recount = products.map((productId) => {
          const delta =
            count(productId, 'catalog.like.added.v1') - count(productId, 'catalog.like.removed.v1')
          return { productId, delta }
        })
        expect(deltasOf(events)).toEqual(recount.sort((a, b) => a.productId - b.productId))
      }),
    )
  })

  it('adds up to the same however the history is cut into batches', () => {
    fc.assert(
      fc.property(histories, fc.nat(20), (events, at) => {
        const sums = new Map<number, number>()
        for (const { productId, delta } of [
          ...deltasOf(events.slice(0, at)),
          ...deltasOf(events.slice(at)),
        ]) {
          sums.set(productId, (sums.get(productId) ?? 0) + delta)
        }
        expect(sums).toEqual(new Map(deltasOf(events).map(({ productId, delta }) => [productId, delta])))
      }),
    )
  })

  it('names each product once, in rising order, so that two consumers cannot deadlock', () => {
    fc.assert(
      fc.property(histories, (events) => {
        const ids = deltasOf(events).map(({ productId }) => productId)
        expect(ids).toEqual([...new Set(ids)].sort((a, b) => a - b))
      }),
    )
  })
})
