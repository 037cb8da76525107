import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import type { InboxRecord } from './judgement.ts'
import { type LogView, checkLog, namesOf } from './log-check.ts'
import { idOf, likeRecord } from './testing.ts'

const mark = { nextOffset: 10n, lastRecord: 'nine' as string | null }
const seen = { of: 'record', nextOffset: 10n } as const
const view = (first: bigint, last: bigint, more: Partial<LogView> = {}): LogView => ({
  first,
  last,
  logEnd: 20n,
  ...more,
})

describe('the log of a partition that is taken over', () => {
  it('is looked at by the record before the mark, and is the same where that is the one remembered', () => {
    expect(checkLog(mark, view(10n, 12n), null)).toEqual({
      kind: 'look',
      from: 9n,
      look: { of: 'record', nextOffset: 10n },
    })
    expect(checkLog(mark, view(9n, 12n, { beforeMark: ['9:hash', 'nine'] }), seen)).toEqual({
      kind: 'same',
      missing: 0n,
    })
  })

  it('needs no second look where the batch holds that record already', () => {
    expect(checkLog(mark, view(7n, 12n, { beforeMark: ['9:hash', 'nine'] }), null)).toEqual({
      kind: 'same',
      missing: 0n,
    })
  })

  it.each([
    ['another event stands there', view(9n, 12n, { beforeMark: ['9:hash', 'other'] })],
    ['no event stands there', view(9n, 12n, { beforeMark: ['9:hash'] })],
  ])('is another one where %s', (_, batch) => {
    expect(checkLog(mark, batch, seen)).toMatchObject({ kind: 'replaced' })
    expect(checkLog(mark, batch, null)).toMatchObject({ kind: 'replaced' })
  })

  it('is looked at again where it ends before the mark: that may be the end of an hour ago', () => {
    const batch = view(0n, 3n, { logEnd: 4n })
    const again = { of: 'end', nextOffset: 10n } as const
    expect(checkLog(mark, batch, null)).toEqual({ kind: 'look', from: 3n, look: again })
    expect(checkLog(mark, batch, seen)).toMatchObject({ kind: 'replaced' })
    expect(checkLog(mark, view(3n, 12n, { beforeMark: ['9:hash', 'nine'] }), again)).toEqual({
      kind: 'same',
      missing: 0n,
    })
    // It may have grown past the mark since.
    expect(checkLog(mark, view(3n, 5n), again)).toEqual({ kind: 'look', from: 9n, look: seen })
    expect(checkLog(mark, view(3n, 12n, { beforeMark: ['9:hash', 'other'] }), again)).toMatchObject({
      kind: 'replaced',
    })
  })

  it('is asked for the offset of the mark where its end still lies before that: only a log that has none is another one', () => {
    const [batch, again] = [view(3n, 3n, { logEnd: 4n }), { of: 'end', nextOffset: 10n } as const]
    const reach = { of: 'reach', nextOffset: 10n } as const
    for (const lastRecord of ['nine', null]) {
      expect(checkLog({ ...mark, lastRecord }, batch, again)).toEqual({
        kind: 'look',
        from: 10n,
        look: reach,
      })
      const begun = view(0n, 3n, { logEnd: 4n })
      expect(checkLog({ ...mark, lastRecord }, begun, reach)).toMatchObject({ kind: 'replaced' })
    }
    // A leader that lagged comes up with the record at the mark: the one before it says the rest.
    expect(checkLog(mark, view(10n, 11n, { logEnd: 12n }), reach)).toEqual({
      kind: 'look',
      from: 9n,
      look: seen,
    })
    // Another log that has grown past the mark since.
    expect(checkLog(mark, view(0n, 11n, { beforeMark: ['9:hash', 'other'] }), reach)).toMatchObject({
      kind: 'replaced',
    })
  })

  it('is not dropped for an end that lies before a mark which has moved on since', () => {
    const before = { of: 'record', nextOffset: 7n } as const
    const again = { kind: 'look', from: 7n, look: { of: 'end', nextOffset: 10n } }
    expect(checkLog(mark, view(6n, 7n, { logEnd: 8n }), before)).toEqual(again)
    expect(checkLog(mark, view(0n, 5n, { logEnd: 6n }), before)).toMatchObject({ kind: 'replaced' })
  })

  it('is taken for the same where the record before the mark is gone, and tells how many are missing', () => {
    expect(checkLog(mark, view(15n, 18n), seen)).toEqual({ kind: 'same', missing: 5n })
    expect(checkLog(mark, view(10n, 18n), seen)).toEqual({ kind: 'same', missing: 0n })
  })

  it('is known by the record before the mark also where that is no event', () => {
    const record = { ...likeRecord(9), value: Buffer.from('{') }
    const [name, ...more] = namesOf(record)
    expect([name, more]).toEqual([expect.stringMatching(/^9:[0-9a-f]{32}$/), []])
    const of = { nextOffset: 10n, lastRecord: name }
    const holding = (one: InboxRecord) => view(9n, 12n, { beforeMark: namesOf(one) })
    expect(checkLog(of, holding(record), seen)).toEqual({ kind: 'same', missing: 0n })
    expect(checkLog(of, holding({ ...record }), null)).toEqual({ kind: 'same', missing: 0n })
    for (const other of [
      likeRecord(9),
      { ...record, timeMs: record.timeMs + 1 },
      { ...record, value: Buffer.from('[') },
      { ...record, value: null },
      { ...record, key: '101' },
      { ...record, headers: { ...record.headers, more: null } },
    ]) {
      expect(checkLog(of, holding(other), seen)).toMatchObject({
        kind: 'replaced',
        why: expect.stringMatching(/^offset 9 holds .* instead of 9:/),
      })
    }
    expect(checkLog(of, view(10n, 12n), null)).toEqual({ kind: 'look', from: 9n, look: seen })
    const like = likeRecord(9)
    expect(namesOf(like)).toEqual([expect.stringMatching(/^9:/), idOf(like)])
  })

  it('is not looked at where the record before the mark was not noted, or there is none', () => {
    const same = { kind: 'same', missing: 0n }
    expect(checkLog({ nextOffset: 0n, lastRecord: null }, view(0n, 9n), null)).toEqual(same)
    expect(checkLog({ ...mark, lastRecord: null }, view(10n, 14n), null)).toEqual(same)
  })

  it('is read from the mark where the broker began ahead of it, as after the database was restored', () => {
    expect(checkLog({ nextOffset: 0n, lastRecord: null }, view(5n, 9n), null)).toEqual({
      kind: 'look',
      from: 0n,
      look: { of: 'record', nextOffset: 0n },
    })
    expect(checkLog({ ...mark, lastRecord: null }, view(12n, 14n), null)).toEqual({
      kind: 'look',
      from: 9n,
      look: { of: 'record', nextOffset: 10n },
    })
    expect(checkLog({ nextOffset: 0n, lastRecord: null }, view(5n, 9n), seen)).toEqual({
      kind: 'same',
      missing: 0n,
    })
    expect(checkLog({ ...mark, lastRecord: null }, view(12n, 14n), seen)).toEqual({
      kind: 'same',
      missing: 2n,
    })
  })

  it('for any batch: is looked at once at most, and never dropped while it reaches the mark and shows no other event', () => {
    const offset = fc.bigInt({ min: 0n, max: 30n })
    fc.assert(
      fc.property(offset, offset, offset, fc.boolean(), (a, b, logEnd, known) => {
        const [first, last] = a < b ? [a, b] : [b, a]
        const check = checkLog({ ...mark, lastRecord: known ? 'nine' : null }, view(first, last, { logEnd }), seen) // prettier-ignore
        expect(check.kind).toBe(logEnd < 10n ? 'replaced' : 'same')
      }),
    )
  })
})
