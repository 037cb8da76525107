import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { type FetchAnswer, type FetchRequest, buildFetchAhead } from './fetch-ahead.ts'

const requestOf = (offsets: readonly number[], maxBytes = 100) => ({
  maxBytes,
  topics: [
    {
      topic: 't',
      partitions: offsets.map((offset, partition) => ({ partition, fetchOffset: String(offset) })),
    },
  ],
})
type Request = ReturnType<typeof requestOf>

/** A broker that has so many records in each partition, and gives two of each at a time. */
function brokerOf(ends: number[]) {
  const asked: number[][] = []
  let isAway = false
  return {
    asked,
    ends,
    away: (is: boolean) => (isAway = is),
    async ask({ topics }: FetchRequest): Promise<FetchAnswer> {
      const partitions = topics[0]!.partitions.map(({ partition, fetchOffset }) => {
        const from = Number(fetchOffset)
        const count = Math.min(2, Math.max(0, ends[partition]! - from))
        const messages = Array.from({ length: count }, (_, i) => ({ offset: String(from + i) }))
        return { partition, highWatermark: String(ends[partition]), messages }
      })
      asked.push(topics[0]!.partitions.map(({ fetchOffset }) => Number(fetchOffset)))
      if (isAway) throw new Error('The broker is away.')
      return { responses: [{ topicName: 't', partitions }] }
    },
  }
}

const offsetsOf = ({ responses }: FetchAnswer): number[][] =>
  responses[0]!.partitions.map(({ messages }) => messages.map(({ offset }) => Number(offset)))

function aheadOf(broker: ReturnType<typeof brokerOf>) {
  const clock = { ms: 0 }
  const fetch = buildFetchAhead<Request, FetchAnswer>(
    (request) => broker.ask(request),
    () => clock.ms,
  )
  return { clock, fetch }
}

describe('a fetch that is asked ahead', () => {
  it('is under way while a reader that goes on as expected handles what came, and is asked once', async () => {
    const broker = brokerOf([9, 3])
    const { fetch } = aheadOf(broker)
    await fetch(requestOf([0, 0]))
    expect(broker.asked).toEqual([[0, 0]])
    expect(offsetsOf(await fetch(requestOf([2, 2])))).toEqual([[2, 3], [2]])
    expect(broker.asked).toEqual([
      [0, 0],
      [2, 2],
      [4, 3],
    ])
    expect(offsetsOf(await fetch(requestOf([4, 3])))).toEqual([[4, 5], []])
    expect(broker.asked).toEqual([
      [0, 0],
      [2, 2],
      [4, 3],
      [6, 3],
    ])
  })

  it('answers nothing but its own question', async () => {
    for (const other of [requestOf([3, 4]), requestOf([4]), requestOf([4, 4], 99)]) {
      const broker = brokerOf([9, 9])
      const { fetch } = aheadOf(broker)
      await fetch(requestOf([0, 0]))
      await fetch(requestOf([2, 2]))
      const wanted = other.topics[0]!.partitions.map(({ fetchOffset }) => Number(fetchOffset))
      expect(offsetsOf(await fetch(other)).map(([first]) => first)).toEqual(wanted)
      expect(broker.asked).toEqual([[0, 0], [2, 2], [4, 4], wanted])
    }
  })

  it('is not asked where all that was there has come: what comes meanwhile comes together then', async () => {
    const broker = brokerOf([4])
    const { fetch } = aheadOf(broker)
    for (const offset of [0, 2, 4, 4]) await fetch(requestOf([offset]))
    expect(broker.asked).toEqual([[0], [2], [4], [4]])
  })

  it('is not asked ahead of a reader that just went elsewhere', async () => {
    const broker = brokerOf([9])
    const { fetch } = aheadOf(broker)
    for (const offset of [0, 2, 0]) await fetch(requestOf([offset]))
    expect(broker.asked).toEqual([[0], [2], [4], [0]])
    await fetch(requestOf([2]))
    expect(broker.asked.slice(4)).toEqual([[2], [4]])
  })

  it('is asked again where it failed before anybody waited for it', async () => {
    const broker = brokerOf([9])
    const { fetch } = aheadOf(broker)
    await fetch(requestOf([0]))
    await fetch(requestOf([2]))
    broker.away(true)
    expect(offsetsOf(await fetch(requestOf([4])))).toEqual([[4, 5]])
    broker.away(false)
    expect(offsetsOf(await fetch(requestOf([6])))).toEqual([[6, 7]])
    expect(broker.asked).toEqual([[0], [2], [4], [6], [6], [8]])
  })

  it('is asked again where the answer is old', async () => {
    const broker = brokerOf([9])
    const { fetch, clock } = aheadOf(broker)
    await fetch(requestOf([0]))
    await fetch(requestOf([2]))
    clock.ms += 5_001
    expect(offsetsOf(await fetch(requestOf([4])))).toEqual([[4, 5]])
    expect(broker.asked).toEqual([[0], [2], [4], [4], [6]])
  })

  it('fails once, as its own question would, for a reader that waits for it already', async () => {
    const broker = brokerOf([9])
    let fail: ((error: Error) => void) | undefined
    const fetch = buildFetchAhead<Request, FetchAnswer>(
      (request) =>
        request.topics[0]?.partitions[0]?.fetchOffset === '4'
          ? new Promise((_, reject) => (fail = reject))
          : broker.ask(request),
      () => 0,
    )
    await fetch(requestOf([0]))
    await fetch(requestOf([2]))
    const waited = fetch(requestOf([4]))
    fail?.(new Error('The broker said nothing.'))
    await expect(waited).rejects.toThrow('said nothing')
    expect(broker.asked).toEqual([[0], [2]])
  })

  it('loses nothing and brings nothing twice, whatever a reader gives back, and however the log grows', async () => {
    const act = fc.record({
      grow: fc.array(fc.nat({ max: 3 }), { minLength: 3, maxLength: 3 }),
      /** Which partitions' batches are handled, and which seek back so far. */
      handled: fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }),
      back: fc.array(fc.constantFrom(0, 0, 0, 1, 5), { minLength: 3, maxLength: 3 }),
      away: fc.constantFrom(false, false, false, true),
      waitMs: fc.constantFrom(0, 10, 6_000),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 40 }), async (acts) => {
        const broker = brokerOf([0, 0, 0])
        const { fetch, clock } = aheadOf(broker)
        const next = [0, 0, 0]
        for (const { grow, handled, back, away, waitMs } of acts) {
          grow.forEach((more, i) => (broker.ends[i]! += more))
          clock.ms += waitMs
          broker.away(away)
          const answer = await fetch(requestOf(next)).catch(() => undefined)
          if (answer === undefined) continue
          offsetsOf(answer).forEach((offsets, i) => {
            expect(offsets).toEqual(offsets.map((_, k) => next[i]! + k))
            if (handled[i]) next[i]! += offsets.length
            next[i] = Math.max(0, next[i]! - back[i]!)
          })
        }
        broker.away(false)
        for (let left = 200; left > 0 && next.some((offset, i) => offset < broker.ends[i]!); left -= 1) {
          offsetsOf(await fetch(requestOf(next))).forEach((offsets, i) => (next[i]! += offsets.length))
        }
        expect(next).toEqual(broker.ends)
      }),
    )
  })
})
