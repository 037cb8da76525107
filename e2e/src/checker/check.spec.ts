import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { check } from './check.ts'
import { type Recipe, correctHistory, transactionOf } from './correct.ts'
import type { History, Request, Transaction } from './history.ts'
import { type Anomaly, countByName, explain, isRight, shortest } from './verdict.ts'

const recipe: fc.Arbitrary<Recipe> = fc.record({
  requests: fc.array(
    fc.record({
      userId: fc.integer({ min: 1, max: 4 }),
      productId: fc.integer({ min: 1, max: 4 }),
      liked: fc.boolean(),
      fate: fc.oneof(
        { weight: 8, arbitrary: fc.constant('answered' as const) },
        { weight: 1, arbitrary: fc.constantFrom('lost' as const, 'lost and undone' as const) },
        { weight: 1, arbitrary: fc.constant('refused' as const) },
      ),
      overlap: fc.integer({ min: 0, max: 3 }),
    }),
    { minLength: 1, maxLength: 60 },
  ),
  pages: fc.array(fc.record({ size: fc.integer({ min: 1, max: 8 }), isRepeated: fc.boolean() }), {
    minLength: 1,
    maxLength: 5,
  }),
  batches: fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 5 }),
})

/** Two users, three products; each of the first pair's four requests is answered, one after the other. */
const example: Recipe = {
  requests: [
    ...[true, false, true, false].map((liked) => ({ userId: 1, productId: 1, liked })),
    { userId: 2, productId: 1, liked: true },
    { userId: 1, productId: 2, liked: true },
    { userId: 2, productId: 3, liked: true },
  ].map((request) => ({ ...request, fate: 'answered' as const, overlap: 0 })),
  pages: [{ size: 3, isRepeated: false }],
  batches: [2],
}

/** What spoils a history, given a number to choose by; null where this one has nothing to spoil. */
type Plant = (history: History, choice: number) => History | null

const pick = <T>(items: readonly T[], choice: number): T | undefined => items[choice % items.length]
const without = <T>(items: readonly T[], one: T): T[] => items.filter((item) => item !== one)

/** Takes events out of the consumer's memory and its counts, as if it had never read them. */
function unhandled(
  { transactions, records }: History,
  ids: ReadonlySet<string>,
): Pick<History, 'transactions' | 'counts'> {
  const events = new Map(records.flatMap(({ event }) => (event ? [[event.id, event]] : [])))
  const left = transactions.map(({ remembered }) =>
    transactionOf(remembered.flatMap((id) => (ids.has(id) ? [] : (events.get(id) ?? [])))),
  )
  return { transactions: left, counts: countsOf(left) }
}

function countsOf(transactions: readonly Transaction[]): History['counts'] {
  const counts = new Map<number, number>()
  for (const { productId, added, removed } of transactions.flatMap(({ changes }) => changes)) {
    counts.set(productId, (counts.get(productId) ?? 0) + added - removed)
  }
  return [...counts].map(([productId, count]) => ({ productId, count }))
}

/** Takes an event out of all that came of it: rows, records, effects. */
function uncommitted(history: History, id: string): History {
  const records = renumbered(history.records.filter(({ event }) => event?.id !== id))
  return {
    ...history,
    records,
    ...unhandled(history, new Set([id])),
    events: history.events.filter((event) => event.id !== id),
    marks: marksAtEnd(records),
  }
}

function renumbered(records: History['records']): History['records'] {
  const ends = new Map<number, number>()
  return records.map((record) => {
    const offset = ends.get(record.partition) ?? 0
    ends.set(record.partition, offset + 1)
    return { ...record, offset }
  })
}

const marksAtEnd = (records: History['records']): History['marks'] =>
  [0, 1, 2].map((partition) => {
    const end = records.filter((record) => record.partition === partition).length
    return { partition, next: end, end }
  })

/** Every way in which each anomaly can come about. The last event of its pair, so that one is missing and no other is odd. */
const plants: Record<string, { anomaly: Anomaly; plant: Plant }> = {
  'an acknowledged like is in no table': {
    anomaly: 'lost write',
    plant: (history, choice) => {
      const last = pick(
        history.events.filter((event) => isLastOfPair(history, event) && isPromised(history, event)),
        choice,
      )
      if (last === undefined) return null
      const likes = history.likes.filter((like) => !isSamePair(like, last))
      const before = { ...uncommitted(history, last.id), likes }
      return last.added
        ? before
        : { ...before, likes: [...likes, { userId: last.userId, productId: last.productId }] }
    },
  },
  'an event that is told as published is not on the topic': {
    anomaly: 'lost write',
    plant: (history, choice) => {
      const event = pick(history.events, choice)
      if (event === undefined) return null
      const records = renumbered(history.records.filter((record) => record.event?.id !== event.id))
      return { ...history, records, ...unhandled(history, new Set([event.id])), marks: marksAtEnd(records) }
    },
  },
  'the consumer passed over a record': {
    anomaly: 'lost write',
    plant: (history, choice) => {
      const event = pick(history.events, choice)
      return event === undefined ? null : { ...history, ...unhandled(history, new Set([event.id])) }
    },
  },
  'a record is of an event that nobody committed': {
    anomaly: 'aborted read',
    plant: (history) => {
      const event = { id: 'nobody', userId: 9, productId: 9, added: true }
      const records = [...history.records, { partition: 0, offset: 1_000, event }]
      const transactions = [...history.transactions, transactionOf([event])]
      return { ...history, records, transactions, counts: countsOf(transactions) }
    },
  },
  'a request that was refused had its effect': {
    anomaly: 'aborted read',
    plant: (history) => {
      const pair = { userId: 9, productId: 9 }
      const event = { ...pair, seq: 1_000, id: 'e1000', added: true, status: 'PUBLISHED' as const }
      const records = [...history.records, { partition: 0, offset: 1_000, event }]
      const transactions = [...history.transactions, transactionOf([event])]
      const refused = { ...pair, liked: true, beganMs: 0, endedMs: 1, answer: 'refused' as const }
      return {
        ...history,
        requests: [...history.requests, refused],
        events: [...history.events, event],
        likes: [...history.likes, pair],
        records,
        transactions,
        counts: countsOf(transactions),
      }
    },
  },
  'an event is handled twice': {
    anomaly: 'duplicate effect',
    plant: (history, choice) => {
      const record = pick(history.records, choice)
      if (!record?.event) return null
      const transactions = [...history.transactions, transactionOf([record.event])]
      return { ...history, transactions, counts: countsOf(transactions) }
    },
  },
  'an event is counted twice and remembered once': {
    anomaly: 'duplicate effect',
    plant: (history, choice) => {
      const record = pick(history.records, choice)
      if (!record?.event) return null
      const transactions = [...history.transactions, { ...transactionOf([record.event]), remembered: [] }]
      return { ...history, transactions, counts: countsOf(transactions) }
    },
  },
  'a like is there without its event': {
    anomaly: 'torn write',
    plant: (history, choice) => {
      const last = pick(
        history.events.filter((event) => isLastOfPair(history, event)),
        choice,
      )
      if (last === undefined) return null
      return uncommitted(history, last.id)
    },
  },
  'an event is remembered and not counted': {
    anomaly: 'torn write',
    plant: (history, choice) => {
      const spoilt = pick(
        history.transactions.filter(({ changes }) => changes.length > 0),
        choice,
      )
      if (spoilt === undefined) return null
      const transactions = history.transactions.map((one) => (one === spoilt ? { ...one, changes: [] } : one))
      return { ...history, transactions, counts: countsOf(transactions) }
    },
  },
  'an event is counted in one transaction and remembered in another': {
    anomaly: 'torn write',
    plant: (history, choice) => {
      const spoilt = pick(
        history.transactions.filter(({ changes }) => changes.length > 0),
        choice,
      )
      if (spoilt === undefined) return null
      const transactions = history.transactions.flatMap((one) =>
        one === spoilt
          ? [
              { ...one, changes: [] },
              { ...one, remembered: [] },
            ]
          : [one],
      )
      return { ...history, transactions }
    },
  },
  'an event is counted and not remembered': {
    anomaly: 'torn write',
    plant: (history, choice) => {
      const spoilt = pick(
        history.transactions.filter(({ changes }) => changes.length > 0),
        choice,
      )
      if (spoilt === undefined) return null
      const transactions = history.transactions.map((one) =>
        one === spoilt ? { ...one, remembered: [] } : one,
      )
      return { ...history, transactions }
    },
  },
  'a count was changed by something else': {
    anomaly: 'torn write',
    plant: (history, choice) => {
      const spoilt = pick(history.counts, choice)
      if (spoilt === undefined) return null
      return {
        ...history,
        counts: [...without(history.counts, spoilt), { ...spoilt, count: spoilt.count + 1 }],
      }
    },
  },
  'two events of a user and product lie on the topic the other way round': {
    anomaly: 'order',
    plant: (history, choice) => {
      const [first, second] = pick(neighbours(history), choice) ?? []
      if (first === undefined || second === undefined) return null
      const swapped = new Map([
        [first.id, second],
        [second.id, first],
      ])
      const records = history.records.map((record) => ({
        ...record,
        event: swapped.get(record.event?.id ?? '') ?? record.event,
      }))
      return { ...history, records }
    },
  },
  'two events of a user and product had their effects the other way round': {
    anomaly: 'order',
    plant: (history, choice) => {
      const [first, second] = pick(neighbours(history), choice) ?? []
      if (first === undefined || second === undefined) return null
      const others = unhandled(history, new Set([first.id, second.id])).transactions
      return { ...history, transactions: [transactionOf([second]), ...others, transactionOf([first])] }
    },
  },
  'a record lies in another partition than the one before it of its user and product': {
    anomaly: 'order',
    plant: (history, choice) => {
      const [, second] = pick(neighbours(history), choice) ?? []
      const at = history.records.findIndex(({ event }) => event?.id === second?.id)
      const record = history.records[at]
      if (second === undefined || record === undefined) return null
      const elsewhere = { ...record, partition: 3, offset: 0 }
      const marks = [...history.marks, { partition: 3, next: 1, end: 1 }]
      return { ...history, marks, records: history.records.with(at, elsewhere) }
    },
  },
  'an event is not published': {
    anomaly: 'stuck',
    plant: (history, choice) => {
      const event = pick(history.events, choice)
      if (event === undefined) return null
      const events = history.events.map((one) =>
        one === event ? { ...one, status: 'FAILED' as const } : one,
      )
      const records = renumbered(history.records.filter((record) => record.event?.id !== event.id))
      return {
        ...history,
        events,
        records,
        ...unhandled(history, new Set([event.id])),
        marks: marksAtEnd(records),
      }
    },
  },
  'an event is parked although nothing is wrong with it': {
    anomaly: 'stuck',
    plant: (history, choice) => {
      const record = pick(history.records, choice)
      if (!record?.event) return null
      const { partition, offset, event } = record
      const letters = [{ partition, offset, id: event.id, reason: 'failed' }]
      return { ...history, ...unhandled(history, new Set([event.id])), letters }
    },
  },
  'nobody has read the end of a partition': {
    anomaly: 'unseen',
    plant: (history, choice) => {
      const record = pick(history.records, choice)
      if (record === undefined) return null
      const { partition, offset } = record
      const tail = history.records.filter((one) => one.partition === partition && one.offset >= offset)
      const ids = new Set(tail.flatMap(({ event }) => event?.id ?? []))
      const seenBefore = history.records.some(
        (one) => one.partition === partition && one.offset < offset && ids.has(one.event?.id ?? ''),
      )
      if (seenBefore) return null
      const marks = history.marks.map((mark) =>
        mark.partition === partition ? { ...mark, next: offset } : mark,
      )
      return { ...history, ...unhandled(history, ids), marks }
    },
  },
}

const isSamePair = (
  one: { userId: number; productId: number },
  other: { userId: number; productId: number },
) => one.userId === other.userId && one.productId === other.productId
const isLastOfPair = ({ events }: History, event: History['events'][number]) =>
  events.findLast((one) => isSamePair(one, event)) === event
/** As many of its kind were answered 2xx and new as there are, so that one that is missing is missed. */
const isPromised = ({ requests, events }: History, event: History['events'][number]) =>
  requests.filter((one) => isSamePair(one, event) && one.liked === event.added && one.changed).length ===
  events.filter((one) => isSamePair(one, event) && one.added === event.added).length
/** Two events of one pair, one after the other, in the first copies. */
const neighbours = ({ events }: History) =>
  events.flatMap((event) => {
    const next = events.find((one) => one.seq > event.seq && isSamePair(one, event))
    return next ? [[event, next] as const] : []
  })

describe('a history in which every promise is kept', () => {
  it('is valid, whatever overlaps, is lost on the way back, or comes twice', () => {
    fc.assert(
      fc.property(recipe, (made) => {
        const verdict = check(correctHistory(made))
        expect(explain(verdict)).toMatch(/^Valid: /)
        expect(isRight(verdict)).toBe(true)
      }),
      { numRuns: 500 },
    )
  })

  it('tells what was looked at', () => {
    const history = correctHistory({ ...example, pages: [{ size: 3, isRepeated: true }] })
    expect(explain(check(history))).toBe(
      'Valid: 7 requests (7 answered 2xx, 0 unknown), 7 events, 14 records (7 copies), 7 transactions of the consumer.',
    )
  })
})

describe('a history in which', () => {
  it.each(Object.entries(plants))('%s is rejected by its name', (_, { anomaly, plant }) => {
    let planted = 0
    fc.assert(
      fc.property(recipe, fc.nat(), (made, choice) => {
        const spoilt = plant(correctHistory(made), choice)
        if (spoilt === null) return
        planted += 1
        const verdict = check(spoilt)
        expect([...countByName(verdict).keys()]).toEqual([anomaly])
        expect(shortest(verdict)?.evidence.length).toBeGreaterThan(0)
      }),
      { numRuns: 300 },
    )
    expect(planted).toBeGreaterThan(20)
  })

  it('a like was answered 2xx and is in no table: the shortest explanation is that answer', () => {
    const history = correctHistory(example)
    const lost = plants['an acknowledged like is in no table']?.plant(history, 3)
    expect(explain(check(lost ?? history))).toBe(
      [
        'INVALID: 1 × lost write; 7 requests (7 answered 2xx, 0 unknown), 6 events, 6 records (0 copies), 4 transactions of the consumer.',
        'The shortest explanation, lost write: 2/3: 1 likes were acknowledged as new, and 0 are committed.',
        '  - request like, 64 to 66 ms: done, changed',
      ].join('\n'),
    )
  })

  it('an answer says that there was nothing to take away, after a like that was acknowledged', () => {
    const [like, ...others] = correctHistory({ ...example, requests: example.requests.slice(0, 1) }).requests
    const wrong = {
      userId: 1,
      productId: 1,
      liked: false,
      beganMs: 20,
      endedMs: 30,
      answer: 'done',
      changed: false,
    } as const
    const history = {
      ...correctHistory({ ...example, requests: example.requests.slice(0, 1) }),
      requests: [like!, ...others, wrong],
    }
    expect(shortest(check(history))).toEqual({
      anomaly: 'lost write',
      what: '1/1: no order of its requests explains these answers.',
      evidence: [
        'request like, 4 to 6 ms: done, changed',
        'request unlike, 20 to 30 ms: done, nothing to change',
      ],
    })
  })

  it('a like is new twice in a row, by its answers and by its events', () => {
    const history = correctHistory({ ...example, requests: example.requests.slice(0, 1) })
    const twice = { ...history.events[0]!, seq: 2, id: 'e2' }
    expect(check({ ...history, events: [...history.events, twice] }).findings).toContainEqual(
      expect.objectContaining({
        anomaly: 'duplicate effect',
        what: '1/1: two events in a row say the same.',
      }),
    )
  })

  it('many requests of a pair are unanswered is told as undecided where trying all orders would take too long', () => {
    const pair = { userId: 1, productId: 1 }
    const unknown = Array.from({ length: 30 }, (): Request => ({
      ...pair,
      liked: true,
      beganMs: 0,
      answer: 'unknown',
    }))
    const done = (liked: boolean, beganMs: number): Request => {
      return { ...pair, liked, beganMs, endedMs: beganMs + 1, answer: 'done', changed: true }
    }
    const unlikes = Array.from({ length: 10 }, (_, i) => done(false, 10 * i + 10))
    const likedTwice = [done(true, 1_000), done(true, 1_010)]
    const events = Array.from({ length: 21 }, (_, i) => {
      return { ...pair, seq: i + 1, id: `e${i + 1}`, added: i % 2 === 0, status: 'PUBLISHED' } as const
    })
    const history = { ...correctHistory({ ...example, requests: [] }), events, likes: [pair] }
    const { facts, findings } = check({ ...history, requests: [...unknown, ...unlikes, ...likedTwice] })
    expect(facts.undecided).toBe(1)
    expect(findings.filter(({ what }) => what.includes('requests'))).toEqual([])
    // With fewer of them it is decided.
    const few = check({ ...history, requests: [...unknown.slice(0, 11), ...unlikes, ...likedTwice] })
    expect(few.facts.undecided).toBe(0)
    expect(few.findings.map(({ what }) => what)).toContain(
      '1/1: no order of its requests explains these answers.',
    )
  })

  it('requests of a pair happened in another order than they were made', () => {
    const history = correctHistory({ ...example, requests: example.requests.slice(0, 3) })
    const [first, second, third] = history.requests
    const late = { ...second!, beganMs: 100, endedMs: 101 }
    expect(shortest(check({ ...history, requests: [first!, late, third!] }))).toMatchObject({
      anomaly: 'order',
      what: '1/1: no order of its requests explains these answers.',
    })
  })
})
