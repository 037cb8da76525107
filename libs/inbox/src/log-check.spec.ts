import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { type LogView, checkLog } from './log-check.ts'

const mark = { nextOffset: 10n, lastEventId: 'nine' as string | null }
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
    expect(checkLog(mark, view(9n, 12n, { beforeMark: 'nine' }), seen)).toEqual({ kind: 'same', missing: 0n })
  })

  it('needs no second look where the batch holds that record already', () => {
    expect(checkLog(mark, view(7n, 12n, { beforeMark: 'nine' }), null)).toEqual({
      kind: 'same',
      missing: 0n,
    })
  })

  it.each([
    ['another event stands there', view(9n, 12n, { beforeMark: 'other' })],
    ['no event stands there', view(9n, 12n, { beforeMark: null })],
  ])('is another one where %s', (_, batch) => {
    expect(checkLog(mark, batch, seen)).toMatchObject({ kind: 'replaced' })
    expect(checkLog(mark, batch, null)).toMatchObject({ kind: 'replaced' })
  })

  it('is looked at again where it ends before the mark: that may be the end of an hour ago', () => {
    const batch = view(0n, 3n, { logEnd: 4n })
    const again = { of: 'end', nextOffset: 10n } as const
    expect(checkLog(mark, batch, null)).toEqual({ kind: 'look', from: 3n, look: again })
    for (const lastEventId of ['nine', null]) {
      expect(checkLog({ ...mark, lastEventId }, batch, again)).toMatchObject({ kind: 'replaced' })
      expect(checkLog({ ...mark, lastEventId }, batch, seen)).toMatchObject({ kind: 'replaced' })
    }
    expect(checkLog(mark, view(3n, 12n, { beforeMark: 'nine' }), again)).toEqual({
      kind: 'same',
      missing: 0n,
    })
    // It may have grown past the mark since.
    expect(checkLog(mark, view(3n, 5n), again)).toEqual({ kind: 'look', from: 9n, look: seen })
    expect(checkLog(mark, view(3n, 12n, { beforeMark: 'other' }), again)).toMatchObject({ kind: 'replaced' })
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

  it('is not looked at where the record before the mark was no event, or there is none', () => {
    const same = { kind: 'same', missing: 0n }
    expect(checkLog({ nextOffset: 0n, lastEventId: null }, view(0n, 9n), null)).toEqual(same)
    expect(checkLog({ ...mark, lastEventId: null }, view(10n, 14n), null)).toEqual(same)
  })

  it('is read from the mark where the broker began ahead of it, as after the database was restored', () => {
    expect(checkLog({ nextOffset: 0n, lastEventId: null }, view(5n, 9n), null)).toEqual({
      kind: 'look',
      from: 0n,
      look: { of: 'record', nextOffset: 0n },
    })
    expect(checkLog({ ...mark, lastEventId: null }, view(12n, 14n), null)).toEqual({
      kind: 'look',
      from: 9n,
      look: { of: 'record', nextOffset: 10n },
    })
    expect(checkLog({ nextOffset: 0n, lastEventId: null }, view(5n, 9n), seen)).toEqual({
      kind: 'same',
      missing: 0n,
    })
    expect(checkLog({ ...mark, lastEventId: null }, view(12n, 14n), seen)).toEqual({
      kind: 'same',
      missing: 2n,
    })
  })

  it('for any batch: is looked at once at most, and never dropped while it reaches the mark and shows no other event', () => {
    const offset = fc.bigInt({ min: 0n, max: 30n })
    fc.assert(
      fc.property(offset, offset, offset, fc.boolean(), (a, b, logEnd, known) => {
        const [first, last] = a < b ? [a, b] : [b, a]
        const check = checkLog({ ...mark, lastEventId: known ? 'nine' : null }, view(first, last, { logEnd }), seen) // prettier-ignore
        expect(check.kind).toBe(logEnd < 10n ? 'replaced' : 'same')
      }),
    )
  })
})
