import { Failure } from '@likewise/service'
import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { type Delivery, type HeldBack, type Parking, deliver } from './delivery.ts'
import type { OutboxEvent } from './page.ts'

const event = (seq: number, partitionKey: string): OutboxEvent => ({
  seq: String(seq),
  id: `00000000-0000-7000-8000-${String(seq).padStart(12, '0')}`,
  eventType: 'test.happened.v1',
  aggregateId: partitionKey,
  topic: 'test',
  partitionKey,
  payload: '{}',
  traceparent: null,
  headers: null,
  createdAt: '2026-01-01T00:00:00.000000Z',
})

const refusal = () => new Failure('EVENT_REFUSED', 'Kafka refuses the record (MESSAGE_TOO_LARGE).')
const isRefusal = (error: unknown): error is Failure =>
  error instanceof Failure && error.code === 'EVENT_REFUSED'

/** A broker that takes a page as a whole or not at all, like Kafka. */
function broker(refuses: (event: OutboxEvent) => boolean) {
  const taken: OutboxEvent[] = []
  const failures: unknown[] = []
  const delivery: Delivery = {
    publish: async (events) => {
      if (events.some(refuses)) throw refusal()
      taken.push(...events)
    },
    isRefusal,
    attemptsMax: 3,
    mayGoOn: () => true,
    onFailure: async (error) => void failures.push(error),
  }
  return { taken, failures, delivery }
}

const nothing = (): HeldBack => ({ keys: new Set(), discarded: new Set() })

async function deliverAll(
  page: readonly OutboxEvent[],
  heldBack: HeldBack,
  delivery: Delivery,
): Promise<Parking[]> {
  const parked: Parking[] = []
  for (let rest = page; rest.length > 0;) {
    const delivered = await deliver(rest, heldBack, delivery)
    if (delivered === null || delivered.done === 0) throw new Error('No progress.')
    parked.push(...delivered.parked)
    rest = rest.slice(delivered.done)
  }
  return parked
}

describe('deliver', () => {
  it('sends each key up to its first refused event, parks that one and what follows in the key, and nothing else', async () => {
    const pages = fc.array(fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd'), isBad: fc.boolean() }), {
      minLength: 1,
      maxLength: 60,
    })
    await fc.assert(
      fc.asyncProperty(pages, fc.subarray(['a', 'b', 'c', 'd']), async (specs, heldKeys) => {
        const page = specs.map(({ key }, i) => event(i + 1, key))
        const isBad = ({ seq }: OutboxEvent) => specs[Number(seq) - 1]?.isBad ?? false
        const { taken, delivery } = broker(isBad)
        const parked = await deliverAll(page, { keys: new Set(heldKeys), discarded: new Set() }, delivery)

        const reasons = new Map(parked.map(({ seq, reason }) => [seq, reason]))
        expect(reasons.size).toBe(parked.length)
        for (const key of ['a', 'b', 'c', 'd']) {
          const ofKey = page.filter(({ partitionKey }) => partitionKey === key)
          const stop = heldKeys.includes(key) ? 0 : ofKey.findIndex(isBad)
          const head = stop === -1 ? ofKey.length : stop
          expect(taken.filter(({ partitionKey }) => partitionKey === key)).toEqual(ofKey.slice(0, head))
          expect(ofKey.slice(head).map(({ seq }) => reasons.get(seq))).toEqual(
            ofKey.slice(head).map((_, i) => (i === 0 && !heldKeys.includes(key) ? 'refused' : 'behind')),
          )
        }
      }),
    )
  })

  it('tries a refused event three times before it parks it, and counts them', async () => {
    const { failures, delivery } = broker(() => true)
    const parked = await deliverAll([event(1, 'a')], nothing(), delivery)
    expect(parked).toEqual([{ seq: '1', reason: 'refused', attempts: 3, detail: refusal().message }])
    expect(failures).toHaveLength(2)
  })

  it('waits an outage out, however long, and parks nothing', async () => {
    let left = 50
    const { taken, failures, delivery } = broker(() => false)
    const publish: Delivery['publish'] = async (events) => {
      if (left-- > 0) throw new Failure('BROKER_UNAVAILABLE', 'Nobody listens.')
      await delivery.publish(events)
    }
    expect(await deliverAll([event(1, 'a'), event(2, 'b')], nothing(), { ...delivery, publish })).toEqual([])
    expect(taken.map(({ seq }) => seq)).toEqual(['1', '2'])
    expect(failures).toHaveLength(50)
  })

  it('does not count an outage between two refusals against the event', async () => {
    const answers = ['refuse', 'away', 'refuse', 'away', 'take']
    const { delivery } = broker(() => false)
    const publish: Delivery['publish'] = async () => {
      const answer = answers.shift()
      if (answer === 'refuse') throw refusal()
      if (answer === 'away') throw new Failure('BROKER_UNAVAILABLE', 'Nobody listens.')
    }
    expect(await deliverAll([event(1, 'a')], nothing(), { ...delivery, publish })).toEqual([])
  })

  it('neither sends nor parks what was discarded', async () => {
    const { taken, delivery } = broker(() => false)
    const heldBack = { keys: new Set(['b']), discarded: new Set(['1', '3']) }
    const page = [event(1, 'a'), event(2, 'a'), event(3, 'b'), event(4, 'b')]
    expect((await deliverAll(page, heldBack, delivery)).map(({ seq }) => seq)).toEqual(['4'])
    expect(taken.map(({ seq }) => seq)).toEqual(['2'])
  })

  it('sends nothing once it may not go on', async () => {
    const { taken, delivery } = broker(() => false)
    expect(await deliver([event(1, 'a')], nothing(), { ...delivery, mayGoOn: () => false })).toBeNull()
    expect(taken).toEqual([])
  })
})
