import type { LikeEvent } from '@likewise/events'
import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { type Delta, deltasOf, eventTimeMs } from './deltas.ts'

const createdAt = '2026-11-22T09:14:05Z'
// Its time is 2026-11-22T09:14:05Z.
const id = '01a20288-bb48-7e3b-9a54-0f6c2d81b7e9'

const eventOf = (liked: boolean, productId: number, at = createdAt, userId = 1): LikeEvent => ({
  type: liked ? 'catalog.like.added.v1' : 'catalog.like.removed.v1',
  id,
  source: '/like-api',
  time: createdAt,
  data: { userId, productId, createdAt: at },
})

const productIds = fc.oneof(
  fc.integer({ min: 1, max: 5 }),
  fc.maxSafeNat().map((n) => n || 1),
)
const idMs = Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16)
const times = fc
  .oneof(fc.integer({ min: -300_000, max: 300_000 }), fc.integer({ min: -62e12, max: 80_000_000 }))
  .map((sinceMs) => new Date(idMs + sinceMs).toISOString())
const histories = fc
  .array(fc.tuple(fc.boolean(), productIds, times))
  .map((steps) => steps.map(([liked, productId, at]) => eventOf(liked, productId, at)))

const keyOf = ({ productId, minute }: Delta) => `${String(productId)} ${String(minute)}`
const sumsOf = (deltas: Delta[]) => {
  const sums = new Map<string, [number, number]>()
  for (const delta of deltas) {
    const [added, removed] = sums.get(keyOf(delta)) ?? [0, 0]
    sums.set(keyOf(delta), [added + delta.added, removed + delta.removed])
  }
  return sums
}

describe('what events change', () => {
  it('is told per product and minute, likes and unlikes apart', () => {
    const events = [
      eventOf(true, 2),
      eventOf(true, 1),
      eventOf(false, 2),
      eventOf(true, 1, '2026-11-22T09:14:59.999999999Z'),
      eventOf(true, 1, '2026-11-22T09:15:00Z'),
      eventOf(false, 3, '2026-11-22T10:13:59.5+01:00'),
    ]
    const minute = Date.parse('2026-11-22T09:14:00Z') / 60_000
    expect(deltasOf(events)).toEqual([
      { productId: 1, minute, added: 2, removed: 0 },
      { productId: 1, minute: minute + 1, added: 1, removed: 0 },
      { productId: 2, minute, added: 1, removed: 1 },
      { productId: 3, minute: minute - 1, added: 0, removed: 1 },
    ])
  })

  it('counts two likes of one product with the same time as two', () => {
    expect(deltasOf([eventOf(true, 100, createdAt, 1), eventOf(true, 100, createdAt, 2)])).toMatchObject([
      { productId: 100, added: 2, removed: 0 },
    ])
  })

  it('equals a recount of every product and minute, whatever the history', () => {
    fc.assert(
      fc.property(histories, (events) => {
        const recount = new Map<string, [number, number]>()
        for (const { type, data } of events) {
          const key = `${String(data.productId)} ${String(Math.floor(Date.parse(data.createdAt) / 60_000))}`
          const [added, removed] = recount.get(key) ?? [0, 0]
          const liked = type === 'catalog.like.added.v1'
          recount.set(key, liked ? [added + 1, removed] : [added, removed + 1])
        }
        expect(sumsOf(deltasOf(events))).toEqual(recount)
      }),
    )
  })

  it('adds up to the same however the history is cut into batches', () => {
    fc.assert(
      fc.property(histories, fc.nat(20), (events, at) => {
        const cut = [...deltasOf(events.slice(0, at)), ...deltasOf(events.slice(at))]
        expect(sumsOf(cut)).toEqual(sumsOf(deltasOf(events)))
      }),
    )
  })

  it('names each product and minute once, in rising order, so that two consumers cannot deadlock', () => {
    fc.assert(
      fc.property(histories, (events) => {
        const deltas = deltasOf(events)
        const sorted = [...deltas].sort((a, b) => a.productId - b.productId || a.minute - b.minute)
        expect(deltas).toEqual(sorted)
        expect(new Set(deltas.map(keyOf)).size).toBe(deltas.length)
      }),
    )
  })
})

describe('when an event happened', () => {
  it.each([
    ['as it says', '2026-11-22T09:14:05.402817Z'],
    ['long ago, for old likes may be imported', '0001-01-01T00:00:00+15:59'],
    ['up to a day ahead of its id', '2026-11-23T09:14:00Z'],
  ])('is believed %s', (_, at) => {
    expect(eventTimeMs(eventOf(true, 1, at))).toBe(Date.parse(at))
  })

  it.each(['2026-11-23T09:14:06Z', '9999-12-31T23:59:59Z'])(
    'is the time of its id if it is further ahead than a day: %s',
    (at) => {
      expect(eventTimeMs(eventOf(true, 1, at))).toBe(idMs)
    },
  )
})
