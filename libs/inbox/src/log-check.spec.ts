import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { type LogView, checkLog } from './log-check.ts'

const mark = { nextOffset: 10n, lastEventId: 'nine' as string | null }
const view = (first: bigint, last: bigint, more: Partial<LogView> = {}): LogView => ({
  first,
  last,
  logEnd: 20n,
  ...more,
})

describe('the log of a partition that is taken over', () => {
  it('is looked at by the record before the mark, and is the same where that is the one remembered', () => {
    expect(checkLog(mark, view(10n, 12n), false)).toEqual({ kind: 'look', from: 9n })
    expect(checkLog(mark, view(9n, 12n, { beforeMark: 'nine' }), true)).toEqual({ kind: 'same', missing: 0n })
  })

  it('needs no second look where the batch holds that record already', () => {
    expect(checkLog(mark, view(7n, 12n, { beforeMark: 'nine' }), false)).toEqual({
      kind: 'same',
      missing: 0n,
    })
  })

  it.each([
    ['another event stands there', view(9n, 12n, { beforeMark: 'other' })],
    ['no event stands there', view(9n, 12n, { beforeMark: null })],
    ['it ends before the mark', view(0n, 3n, { logEnd: 4n })],
    ['it ends before the mark, and nobody knows the event before it', view(0n, 3n, { logEnd: 9n })],
  ])('is another one where %s', (_, batch) => {
    expect(checkLog(mark, batch, true)).toMatchObject({ kind: 'replaced' })
    expect(checkLog(mark, batch, false)).toMatchObject({ kind: 'replaced' })
  })

  it('is taken for the same where the record before the mark is gone, and tells how many are missing', () => {
    expect(checkLog(mark, view(15n, 18n), true)).toEqual({ kind: 'same', missing: 5n })
    expect(checkLog(mark, view(10n, 18n), true)).toEqual({ kind: 'same', missing: 0n })
  })

  it('is not looked at where the record before the mark was no event, or there is none', () => {
    const same = { kind: 'same', missing: 0n }
    expect(checkLog({ nextOffset: 0n, lastEventId: null }, view(0n, 9n), false)).toEqual(same)
    expect(checkLog({ ...mark, lastEventId: null }, view(10n, 14n), false)).toEqual(same)
  })

  it('is read from the mark where the broker began ahead of it, as after the database was restored', () => {
    expect(checkLog({ nextOffset: 0n, lastEventId: null }, view(5n, 9n), false)).toEqual({
      kind: 'look',
      from: 0n,
    })
    expect(checkLog({ ...mark, lastEventId: null }, view(12n, 14n), false)).toEqual({
      kind: 'look',
      from: 9n,
    })
    expect(checkLog({ nextOffset: 0n, lastEventId: null }, view(5n, 9n), true)).toEqual({
      kind: 'same',
      missing: 0n,
    })
    expect(checkLog({ ...mark, lastEventId: null }, view(12n, 14n), true)).toEqual({
      kind: 'same',
      missing: 2n,
    })
  })

  it('for any batch: is looked at once at most, and never dropped while it reaches the mark and shows no other event', () => {
    const offset = fc.bigInt({ min: 0n, max: 30n })
    fc.assert(
      fc.property(offset, offset, offset, fc.boolean(), (a, b, logEnd, known) => {
        const [first, last] = a < b ? [a, b] : [b, a]
        const check = checkLog({ ...mark, lastEventId: known ? 'nine' : null }, view(first, last, { logEnd }), true) // prettier-ignore
        expect(check.kind).toBe(logEnd < 10n ? 'replaced' : 'same')
      }),
    )
  })
})
