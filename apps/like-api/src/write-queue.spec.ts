import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { buildWriteQueue } from './write-queue.ts'

interface Item {
  key: string
  n: number
}
const limits = { batchSizeMax: 3, batchesMax: 2, waitingMax: 20, waitingPerKeyMax: 4 }

describe('what is offered', () => {
  it('goes as soon as there is room, and all that gathered meanwhile goes together', () => {
    const queue = buildWriteQueue<Item>(limits)
    const offer = (n: number) => queue.offer({ key: `k${n}`, n })
    offer(1)
    expect(queue.take()).toMatchObject([{ n: 1 }])
    offer(2)
    expect(queue.take()).toMatchObject([{ n: 2 }])
    for (const n of [3, 4, 5, 6]) offer(n)
    expect(queue.take()).toBeUndefined()
    queue.land()
    expect(queue.take()).toMatchObject([{ n: 3 }, { n: 4 }, { n: 5 }])
    expect(queue.waiting()).toBe(1)
  })

  it('goes beside another batch only with as many as that, and alone once that has landed', () => {
    const queue = buildWriteQueue<Item>(limits)
    const offer = (n: number) => queue.offer({ key: `k${n}`, n })
    for (const n of [1, 2]) offer(n)
    expect(queue.take()).toHaveLength(2)
    offer(3)
    expect(queue.take()).toBeUndefined()
    offer(4)
    expect(queue.take()).toHaveLength(2)
    offer(5)
    queue.land()
    queue.land()
    expect(queue.take()).toMatchObject([{ n: 5 }])
  })

  it('goes beside another batch with fewer, where it has waited for long enough', () => {
    const queue = buildWriteQueue<Item>(limits)
    const offer = (n: number) => queue.offer({ key: `k${n}`, n })
    for (const n of [1, 2]) offer(n)
    expect(queue.take()).toHaveLength(2)
    offer(3)
    queue.hurry()
    expect(queue.take()).toMatchObject([{ n: 3 }])
    offer(4)
    expect(queue.take()).toBeUndefined() // there are two
  })

  it('waits for the one before it on its key, although there is room for a batch', () => {
    const queue = buildWriteQueue<Item>(limits)
    const [first, second] = [
      { key: 'a', n: 1 },
      { key: 'a', n: 2 },
    ]
    queue.offer(first)
    queue.take()
    queue.offer(second)
    expect(queue.take()).toBeUndefined()
    queue.release(first)
    expect(queue.take()).toEqual([second])
  })

  it('is refused where too many wait, in all or on one key, and let in again when some have gone', () => {
    const queue = buildWriteQueue<Item>(limits)
    const offered = Array.from({ length: 6 }, (_, n) => queue.offer({ key: 'a', n }))
    expect(offered).toEqual([true, true, true, true, true, false])
    const others = Array.from({ length: 16 }, (_, n) => queue.offer({ key: `k${n}`, n }))
    expect(others).toEqual([...Array.from({ length: 15 }, () => true), false])
    queue.take()
    expect(queue.offer({ key: 'z', n: 1 })).toBe(true)
  })
})

type Step = { offer: string } | 'take' | 'land' | { release: number } | { withdraw: number }
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ offer: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f') }) },
  { weight: 3, arbitrary: fc.constant('take' as const) },
  { weight: 2, arbitrary: fc.constant('land' as const) },
  { weight: 3, arbitrary: fc.record({ release: fc.nat(10) }) },
  { weight: 1, arbitrary: fc.record({ withdraw: fc.nat(5) }) },
)

describe('whatever comes in whatever order', () => {
  it('keys are unique in hand, each key keeps its order, and nothing is lost or done twice', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const queue = buildWriteQueue<Item>(limits)
        let [n, inFlight] = [0, 0]
        let inHand: Item[] = []
        const outstanding = new Map<string, number[]>()
        const drop = ({ key, n: gone }: Item) =>
          outstanding.set(
            key,
            outstanding.get(key)!.filter((one) => one !== gone),
          )
        function act(one: Step): void {
          if (one === 'take') {
            const batch = queue.take()
            if (!batch) return
            inFlight += 1
            expect(inFlight).toBeLessThanOrEqual(limits.batchesMax)
            expect(batch.length).toBeLessThanOrEqual(limits.batchSizeMax)
            inHand.push(...batch)
            expect(new Set(inHand.map(({ key }) => key)).size).toBe(inHand.length)
            for (const item of batch) expect(item.n).toBe(outstanding.get(item.key)![0])
          } else if (one === 'land') {
            if (inFlight > 0) queue.land()
            inFlight = Math.max(0, inFlight - 1)
          } else if ('offer' in one) {
            n += 1
            const item = { key: one.offer, n }
            if (queue.offer(item)) outstanding.set(item.key, [...(outstanding.get(item.key) ?? []), n])
          } else if ('release' in one) {
            const item = inHand[one.release]
            if (!item) return
            queue.release(item)
            inHand = inHand.filter((other) => other !== item)
            drop(item)
          } else {
            for (const item of queue.withdraw((candidate) => candidate.n % 6 === one.withdraw)) {
              expect(inHand).not.toContain(item)
              drop(item)
            }
          }
          const open = [...outstanding.values()].flat().length
          expect(queue.waiting()).toBe(open - inHand.length)
        }
        steps.forEach(act)
        // Then everything is carried out, whatever state it was in.
        for (let rounds = 0; queue.waiting() + inHand.length > 0; rounds += 1) {
          expect(rounds).toBeLessThan(200)
          while (inFlight > 0) act('land')
          while (inHand.length > 0) act({ release: 0 })
          act('take')
        }
        expect([...outstanding.values()].flat()).toEqual([])
      }),
      { numRuns: 500 },
    )
  })
})
