import { encode } from '@likewise/events'
import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { type Horizon, type InboxRecord, judge, parkBehind } from './judgement.ts'

const dayMs = 86_400_000
const horizon: Horizon = { dedupHorizonMs: 30 * dayMs, futureMaxMs: dayMs }
const nowMs = Date.UTC(2026, 10, 22, 12)

const idAt = (ms: number): string => {
  const hex = ms.toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7e3b-9a54-0f6c2d81b7e9`
}

function recordOf(madeMs: number, change: Partial<InboxRecord> = {}): InboxRecord {
  const { key, value, headers } = encode({
    type: 'catalog.like.added.v1',
    id: idAt(madeMs),
    source: '/likewise/like-api',
    time: '2026-11-22T09:14:05.407Z',
    data: { userId: 1, productId: 100, createdAt: '2026-11-22T09:14:05.402817Z' },
  })
  return { offset: 7n, key, value: Buffer.from(value), headers, timeMs: madeMs, ...change }
}

const judged = (madeMs: number, change: Partial<InboxRecord> = {}) =>
  judge(recordOf(madeMs, change), nowMs, horizon)

describe('the age of an event', () => {
  it.each([
    ['now', 0],
    ['just within the horizon', -30 * dayMs],
    ['just within the day ahead', dayMs],
  ])('is fine when its id was made %s', (_, ms) => {
    expect(judged(nowMs + ms)).toMatchObject({ kind: 'event', event: { id: idAt(nowMs + ms) } })
  })

  it('parks an event whose duplicates could no longer be told, without its key', () => {
    expect(judged(nowMs - 30 * dayMs - 1)).toMatchObject({
      kind: 'parked',
      reason: 'too_old',
      detail: 'the event id is 30.0 days old, the horizon is 30.0',
      eventId: idAt(nowMs - 30 * dayMs - 1),
      eventType: 'catalog.like.added.v1',
      blocksKey: false,
    })
  })

  it('parks an event from further ahead than a day, without its key', () => {
    expect(judged(nowMs + 2 * dayMs)).toMatchObject({
      reason: 'from_future',
      detail: 'the event id is 2.0 days ahead of the database’s clock'.replace('’', "'"),
      blocksKey: false,
    })
  })

  it('is one of three, whatever the clocks say', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2 ** 48 - 1 }),
        fc.integer({ min: 0, max: 2 ** 48 - 1 }),
        (made, now) => {
          const verdict = judge(recordOf(made), now, horizon)
          const age = now - made
          const expected = age > 30 * dayMs ? 'too_old' : age < -dayMs ? 'from_future' : undefined
          expect('reason' in verdict ? verdict.reason : undefined).toBe(expected)
        },
      ),
    )
  })

  it('is that of the id, not that of the record or of createdAt', () => {
    expect(judged(nowMs, { timeMs: 0 }).kind).toBe('event')
  })
})

describe('what parks, and whether its key waits', () => {
  it.each([
    ['not_json', { value: Buffer.from('{') }, true],
    ['no_value', { value: null }, true],
    ['poisoned', { value: Buffer.from('{"__proto__":{"a":1}}') }, true],
    ['bad_payload', { value: Buffer.from('{"userId":0}') }, true],
    ['missing_header', { headers: {} }, true],
    ['key_mismatch', { key: '101' }, true],
    ['key_mismatch', { key: null }, false],
    ['key_mismatch', { key: 'x'.repeat(5_000) }, false],
    ['not_json', { key: '0100', value: Buffer.from('{') }, false],
  ] as const)('%s with %j: the key waits: %j', (reason, change, blocksKey) => {
    expect(judged(nowMs, change)).toMatchObject({ kind: 'parked', reason, blocksKey })
  })

  it('parks an id that is no UUID v7 alone, since its duplicates could not be told', () => {
    const { headers } = recordOf(nowMs)
    for (const ce_id of ['42', '6ba7b810-9dad-11d1-80b4-00c04fd430c8', `${idAt(nowMs)}\n`]) {
      expect(judged(nowMs, { headers: { ...headers, ce_id } })).toMatchObject({
        reason: 'bad_id',
        blocksKey: false,
      })
    }
  })

  it('leaves other families alone, whatever else the record holds', () => {
    const verdict = judged(nowMs, {
      headers: { ce_type: 'catalog.price.changed.v1' },
      value: null,
      key: null,
    })
    expect(verdict).toEqual({ kind: 'foreign' })
  })

  it('parks a type of this family that it does not know, and its key', () => {
    const { headers } = recordOf(nowMs)
    const verdict = judged(nowMs, { headers: { ...headers, ce_type: 'catalog.like.added.v2' } })
    expect(verdict).toMatchObject({ reason: 'unknown_type', blocksKey: true })
  })

  it('parks an event behind an earlier one of its key, which goes on waiting', () => {
    const verdict = judged(nowMs)
    if (verdict.kind !== 'event') throw new Error(verdict.kind)
    expect(parkBehind(verdict.record, verdict.event)).toMatchObject({
      reason: 'behind_parked',
      eventId: verdict.event.id,
      eventType: 'catalog.like.added.v1',
      record: verdict.record,
      blocksKey: true,
    })
  })
})

it('never throws, whatever a record holds', () => {
  const bytes = fc.option(fc.uint8Array({ maxLength: 200 }))
  const header = fc.oneof(fc.string({ unit: 'binary' }), fc.uint8Array({ maxLength: 40 }), fc.constant(null))
  const ours = fc.constantFrom(
    'ce_id',
    'ce_type',
    'ce_time',
    'ce_source',
    'ce_specversion',
    'traceparent',
    'content-type',
  )
  const headers = fc.dictionary(
    fc.oneof(ours, fc.string()),
    fc.oneof(header, fc.array(header, { maxLength: 3 })),
  )
  fc.assert(
    fc.property(
      bytes,
      fc.option(fc.string({ unit: 'binary' })),
      headers,
      fc.boolean(),
      (value, key, some, whole) => {
        const base = recordOf(nowMs)
        const verdict = judge(
          { ...base, value, key, headers: whole ? { ...base.headers, ...some } : some },
          nowMs,
          horizon,
        )
        expect(['event', 'foreign', 'parked']).toContain(verdict.kind)
        // what is kept must fit where it is kept
        if (verdict.kind === 'parked') expect(verdict.detail).not.toContain('\u0000')
      },
    ),
    { numRuns: 500 },
  )
})
