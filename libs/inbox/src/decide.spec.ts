import type { LikeEvent } from '@likewise/events'
import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { decide, suspectsOf } from './decide.ts'
import type { InboxRecord, Judgement, ParkReason } from './judgement.ts'

const record = (offset: number, key: string | null): InboxRecord => ({
  offset: BigInt(offset),
  key,
  value: null,
  headers: {},
  timeMs: 0,
})

function event(offset: number, key: string | null): Judgement {
  const data = { userId: offset + 1, productId: Number(key ?? 1), createdAt: '2026-11-22T09:14:05Z' }
  const about = { type: 'catalog.like.added.v1', source: '/test', time: '2026-11-22T09:14:05Z' } as const
  const made: LikeEvent = {
    ...about,
    id: idOf(offset),
    data,
  }
  return { kind: 'event', record: record(offset, key), event: made }
}

function bad(offset: number, key: string | null, reason: ParkReason = 'not_json'): Judgement {
  const blocksKey = key !== null && !['bad_id', 'too_old', 'from_future'].includes(reason)
  return {
    kind: 'parked',
    record: record(offset, key),
    reason,
    detail: 'bad',
    eventId: null,
    eventType: null,
    blocksKey,
  }
}

const nothingKnown = (blocked: readonly string[] = []) => ({
  blocked: new Set(blocked),
  resolved: new Set<bigint>(),
  handled: new Set<string>(),
})

const idOf = (offset: number): string => `01936d2a-7c1f-7e3b-9a54-${String(offset).padStart(12, '0')}`

function outcome(judged: readonly Judgement[], blocked: string[] = [], resolved: number[] = []) {
  const { events, parked } = decide(judged, {
    ...nothingKnown(blocked),
    resolved: new Set(resolved.map(BigInt)),
  })
  return {
    handled: events.map(({ data }) => data.userId - 1),
    parked: parked.map((one) => [Number(one.record.offset), one.reason]),
  }
}

describe('what is handled and what parks', () => {
  it('handles everything in order when nothing is wrong', () => {
    expect(outcome([event(0, '1'), event(1, '2'), event(2, '1')])).toEqual({ handled: [0, 1, 2], parked: [] })
  })

  it('parks the later events of a key behind a bad record, and lets other keys and earlier events flow', () => {
    const judged = [event(0, '1'), bad(1, '1'), event(2, '2'), event(3, '1'), bad(4, '1'), event(5, '1')]
    expect(outcome(judged)).toEqual({
      handled: [0, 2],
      parked: [
        [1, 'not_json'],
        [3, 'behind_parked'],
        [4, 'not_json'],
        [5, 'behind_parked'],
      ],
    })
  })

  it('parks the events of a key that waits from an earlier batch', () => {
    expect(outcome([event(0, '1'), event(1, '2')], ['1'])).toEqual({
      handled: [1],
      parked: [[0, 'behind_parked']],
    })
  })

  it.each(['too_old', 'from_future', 'bad_id'] as const)('parks %s alone', (reason) => {
    const judged = [bad(0, '1', reason), event(1, '1')]
    expect(outcome(judged)).toEqual({ handled: [1], parked: [[0, reason]] })
  })

  it('lets a record without a key block nobody', () => {
    expect(outcome([bad(0, null), event(1, '1')])).toEqual({ handled: [1], parked: [[0, 'not_json']] })
  })

  it('parks nothing that was parked before and is resolved, and its key does not wait for it', () => {
    const judged = [bad(0, '1'), event(1, '1'), event(2, '1')]
    expect(outcome(judged, [], [0])).toEqual({ handled: [1, 2], parked: [] })
  })

  it('neither handles nor parks a resolved event while its key waits again', () => {
    expect(outcome([event(0, '1'), event(1, '1')], ['1'], [0])).toEqual({
      handled: [],
      parked: [[1, 'behind_parked']],
    })
  })

  it('parks nothing that had its effect: it came again and stays a duplicate, whether its key waits or not', () => {
    const judged = [event(0, '1'), bad(1, '1'), event(2, '1'), event(3, '1'), event(4, '2')]
    const handled = new Set([0, 2, 4].map(idOf))
    const { events, parked } = decide(judged, { ...nothingKnown(['1']), handled })
    expect(events.map(({ data }) => data.userId - 1)).toEqual([0, 2, 4])
    expect(parked.map(({ record: { offset } }) => Number(offset))).toEqual([1, 3])
  })

  it('asks of which events that may be so: those of keys that wait, or that a record of the batch stops', () => {
    const judged = [
      event(0, '1'),
      event(1, '2'),
      event(2, '3'),
      bad(3, '3'),
      bad(4, '4', 'too_old'),
      event(5, '4'),
    ]
    expect(suspectsOf(judged, new Set(['1'])).map(({ id }) => id)).toEqual([0, 2].map(idOf))
  })

  it('passes over other families', () => {
    expect(outcome([{ kind: 'foreign' }, event(1, '1')])).toEqual({ handled: [1], parked: [] })
  })
})

describe('for any batch', () => {
  const key = fc.constantFrom('1', '2', '3')
  const reason = fc.constantFrom<ParkReason>('not_json', 'too_old', 'bad_id', 'unknown_type')
  const batch = fc
    .array(fc.oneof({ arbitrary: fc.tuple(key), weight: 3 }, fc.tuple(key, reason)), { maxLength: 40 })
    .map((list) => list.map(([k, why], i) => (why === undefined ? event(i, k) : bad(i, k, why))))
  const keys = fc.uniqueArray(key)

  it('each record is handled or parked, never both, never neither', () => {
    fc.assert(
      fc.property(batch, keys, (judged, blocked) => {
        const { handled, parked } = outcome(judged, blocked)
        const seen = [...handled, ...parked.map(([offset]) => offset as number)].sort((a, b) => a - b)
        expect(seen).toEqual(judged.map((_, i) => i))
      }),
    )
  })

  it('no event of a key is handled after one of its key that waits', () => {
    fc.assert(
      fc.property(batch, keys, (judged, blocked) => {
        const { events, parked } = decide(judged, nothingKnown(blocked))
        const waits = new Map<string, number>(blocked.map((k) => [k, -1]))
        for (const one of parked) {
          const k = one.record.key ?? ''
          if (one.blocksKey && !waits.has(k)) waits.set(k, Number(one.record.offset))
        }
        for (const { data } of events) {
          expect(data.userId - 1).toBeLessThan(waits.get(String(data.productId)) ?? Infinity)
        }
      }),
    )
  })

  it('cut in two, it comes to the same as whole', () => {
    fc.assert(
      fc.property(batch, fc.nat(40), (judged, at) => {
        const known = nothingKnown()
        const one = decide(judged.slice(0, at), known)
        const two = decide(judged.slice(at), known)
        const whole = decide(judged, nothingKnown())
        expect([...one.events, ...two.events]).toEqual(whole.events)
        expect([...one.parked, ...two.parked]).toEqual(whole.parked)
      }),
    )
  })
})
