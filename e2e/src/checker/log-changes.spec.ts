import { describe, expect, it } from '@jest/globals'
import { check } from './check.ts'
import { correctHistory } from './correct.ts'
import type { History } from './history.ts'
import { countByName, explain } from './verdict.ts'

/** 1/1 is liked and unliked again. */
const example = {
  requests: [true, false].map((liked) => ({
    ...{ userId: 1, productId: 1, liked, overlap: 0 },
    fate: 'answered' as const,
  })),
  pages: [{ size: 3, isRepeated: false }],
  batches: [1],
}

describe('what was done to the topic on purpose', () => {
  /** Like and unlike of 1/1 had their effects the other way round; `apart`: and their records lie in two partitions. */
  function swapped({ apart }: { apart: boolean }): History {
    const history = correctHistory(example)
    const [first, second] = history.records
    return {
      ...history,
      records: apart ? [first!, { ...second!, partition: 2, offset: 0 }] : history.records,
      marks: apart ? [1, 2].map((partition) => ({ partition, next: 1, end: 1 })) : history.marks,
      transactions: history.transactions.toReversed(),
    }
  }
  const anomaliesOf = (history: History) => [...countByName(check(history)).keys()]
  const added = { kind: 'partitions added', after: 0, moved: [1] } as const
  const again = { kind: 'made again', after: 0, untilSeq: 2 } as const

  it.each([true, false])('without it, order is order, whether the records lie apart or not (%s)', (apart) => {
    expect(anomaliesOf(swapped({ apart }))).toEqual(['order'])
  })

  it('partitions were added: the old and the new records of a key that moved have no order', () => {
    const history = { ...swapped({ apart: true }), logChanges: [added] }
    expect(anomaliesOf(history)).toEqual([])
    // That the records lie apart, and that their effects do not come in their order.
    expect(explain(check(history))).toContain(
      '2 times two events of a (user, product) lie apart or out of order',
    )
  })

  it.each([
    ['a key that did not move', { apart: true }, [{ ...added, moved: [2] }]],
    ['two records in one partition', { apart: false }, [added]],
    ['effects from before', { apart: true }, [{ ...added, after: 1 }]],
  ])('partitions were added: that is no excuse for %s', (_, how, logChanges) => {
    expect(anomaliesOf({ ...swapped(how), logChanges })).toEqual(['order'])
  })

  it('partitions were added: of a key that did not move neither the places nor the effects are excused', () => {
    const history = { ...swapped({ apart: true }), logChanges: [{ ...added, moved: [2] }] }
    expect(check(history).facts.excused).toBe(0)
  })

  it('the topic was made again, and all was sent once more: what was sent before that has no order', () => {
    const history = swapped({ apart: false })
    expect(anomaliesOf({ ...history, logChanges: [again] })).toEqual([])
    const records = history.records.toReversed().map((record, offset) => ({ ...record, offset }))
    expect(anomaliesOf({ ...history, records, logChanges: [again] })).toEqual([])
    // Where partitions had been added to the log that is gone, nobody can tell where its records lay.
    expect(anomaliesOf({ ...history, logChanges: [added, { ...again, untilSeq: 0 }] })).toEqual([])
  })

  it.each([
    ['what was written after that', { ...again, untilSeq: 1 }],
    ['effects from before', { ...again, after: 1 }],
  ])('the topic was made again: that is no excuse for %s', (_, change) => {
    expect(anomaliesOf({ ...swapped({ apart: false }), logChanges: [change] })).toEqual(['order'])
  })

  it('nothing of it excuses an event that was passed over, or counted twice', () => {
    const history = correctHistory(example)
    const { transactions } = history
    const logChanges = [added, again]
    const counts = [{ productId: 1, count: -1 }]
    const passed = { ...history, transactions: transactions.slice(1), counts, logChanges }
    expect(anomaliesOf(passed)).toEqual(['lost write'])
    const twice = [...transactions, transactions[0]!]
    expect(anomaliesOf({ ...history, transactions: twice, logChanges })).toContain('duplicate effect')
  })
})
