import { randomUUID } from 'node:crypto'
import { type LikeEvent, decode, topics } from '@likewise/events'
import { readTopicEnds, subscribe } from '@likewise/kafka'
import { buildLogger } from '@likewise/service'
import { afterAll, beforeAll, expect, it } from '@jest/globals'
import { isSettled } from './invariants.ts'
import { sendLike, sendUnlike, spread } from './likes.ts'
import { type System, eventually, kill, startSystem } from './system.ts'

let system: System
beforeAll(async () => {
  system = await startSystem({ relays: 2, consumers: 1 })
}, 180_000)
afterAll(() => system.stop(), 60_000)

it('keeps the order of each (user, product) with two relays, one of them killed (I4)', async () => {
  // Each pair toggles: its own requests one after the other, over both APIs; pairs go on side by side.
  await Promise.all([
    spread(40, 20, async (pair) => {
      for (let turn = 0; turn < 10; turn += 1) {
        const api = system.apis[(pair + turn) % 2] ?? ''
        await (turn % 2 === 0 ? sendLike : sendUnlike)(api, pair + 1, 500 + (pair % 8))
      }
    }),
    kill(system, 'outbox-relay-1'),
  ])
  await eventually(() => isSettled(system), 60_000)

  const events = firstCopies(await readTopic())
  const turns = new Map<string, LikeEvent[]>()
  for (const event of events) {
    const pair = `${event.data.userId}/${event.data.productId}`
    turns.set(pair, [...(turns.get(pair) ?? []), event])
  }
  expect(turns.size).toBe(40)
  const expected = Array.from({ length: 10 }, (_, turn) => (turn % 2 === 0 ? 'added' : 'removed'))
  for (const [, pair] of turns) {
    expect(pair.map(({ type }) => (type === 'catalog.like.added.v1' ? 'added' : 'removed'))).toEqual(expected)
  }
}, 120_000)

/** A relay that died after Kafka's answer and before its own note repeats a page: at least once. */
function firstCopies(events: readonly LikeEvent[]): LikeEvent[] {
  const seen = new Set<string>()
  return events.filter(({ id }) => !seen.has(id) && seen.add(id))
}

async function readTopic(): Promise<LikeEvent[]> {
  const kafka = {
    brokers: [system.stack.servers.kafkaBrokers],
    clientId: 'e2e',
    requestTimeoutMs: 10_000,
    log: buildLogger({ service: 'e2e', level: 'silent' }),
  }
  const ends = await readTopicEnds(kafka, topics.catalogEvents)
  const wanted = ends.reduce((sum, { start, end }) => sum + Number(end - start), 0)
  const events: LikeEvent[] = []
  const subscriber = subscribe({
    ...kafka,
    groupId: `e2e-${randomUUID()}`,
    topic: topics.catalogEvents,
    partitionsAtOnceMax: 1,
    onBatch: async ({ records }) => {
      for (const record of records) {
        const decoded = decode(record)
        if (decoded.kind === 'event') events.push(decoded.event)
      }
    },
    fail: (error) => {
      throw error
    },
  })
  await eventually(async () => events.length >= wanted)
  await subscriber.stop()
  return events
}
