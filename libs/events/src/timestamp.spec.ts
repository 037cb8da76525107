import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { decode, encode, type Decoded, type LikeEvent } from './index.ts'

const event: LikeEvent = {
  type: 'catalog.like.added.v1',
  id: '01936d2a-7c1f-7e3b-9a54-0f6c2d81b7e9',
  source: '/likewise/like-api',
  time: '2024-11-27T09:14:05.407Z',
  data: { userId: 1, productId: 100, createdAt: '2024-11-27T09:14:05.402817Z' },
}

describe('the time of an event', () => {
  it.each([
    '2024-02-29T00:00:00Z',
    '2000-02-29T23:59:59.999999999Z',
    '0001-01-01T00:00:00Z',
    '9999-12-31T23:59:59Z',
    '2024-11-30T09:14:05+15:59',
    '2024-12-31T09:14:05.4-15:59',
  ])('may be %s', (createdAt) => {
    expect(decodedAt(createdAt).kind).toBe('event')
  })

  it.each([
    '2023-02-29T00:00:00Z',
    '1900-02-29T00:00:00Z',
    '2024-02-30T00:00:00Z',
    '2024-04-31T00:00:00Z',
    '2024-13-01T00:00:00Z',
    '2024-00-10T00:00:00Z',
    '2024-01-00T00:00:00Z',
    '0000-01-01T00:00:00Z',
    '0000-02-29T00:00:00Z',
    '+12024-01-01T00:00:00Z',
    '2024-01-01T24:00:00Z',
    '2024-01-01T00:60:00Z',
    '2016-12-31T23:59:60Z',
    '2024-01-01T00:00:00',
    '2024-01-01T00:00Z',
    '2024-01-01',
    '2024-01-01 00:00:00Z',
    '2024-01-01t00:00:00z',
    '2024-01-01T00:00:00.Z',
    '2024-01-01T00:00:00.1234567890Z',
    '2024-01-01T00:00:00+16:00',
    '2024-01-01T00:00:00+0900',
    '2024-01-01T00:00:00Z[Europe/Paris]',
    '2024-01-01T00:00:00Z\n',
    '',
  ])('may not be %j', (createdAt) => {
    expect(decodedAt(createdAt)).toMatchObject({ kind: 'refused', reason: 'bad_payload' })
  })

  it('knows the leap years of ten thousand', () => {
    const years = Array.from({ length: 10_000 }, (_, year) => year)
    const leapDay = (year: number) => `${padded(year, 4)}-02-29`
    const accepted = years.filter((year) => decodedAt(`${leapDay(year)}T12:00:00Z`).kind === 'event')
    expect(accepted).toEqual(years.filter((year) => year > 0 && roundTrips(leapDay(year))))
  })

  it('is a time that Date reads as the very same, whenever it is accepted', () => {
    const days = fc.record({
      y: fc.integer({ min: 0, max: 9999 }),
      m: fc.integer({ min: 0, max: 13 }),
      d: fc.integer({ min: 0, max: 32 }),
    })
    fc.assert(
      fc.property(days, ({ y, m, d }) => {
        const day = `${padded(y, 4)}-${padded(m, 2)}-${padded(d, 2)}`
        const known = y > 0 && roundTrips(day)
        expect(decodedAt(`${day}T12:00:00Z`).kind).toBe(known ? 'event' : 'refused')
      }),
      { numRuns: 2_000 },
    )
  })
})

function decodedAt(createdAt: string): Decoded {
  const value = JSON.stringify({ ...event.data, createdAt })
  return decode({ ...encode(event), value })
}

/** Date turns 30 February into 1 March; a day that exists comes back as it went in. */
function roundTrips(day: string): boolean {
  const ms = Date.parse(`${day}T12:00:00Z`)
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(day)
}

function padded(number: number, length: number): string {
  return String(number).padStart(length, '0')
}
