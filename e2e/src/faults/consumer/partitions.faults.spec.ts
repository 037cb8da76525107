import { topics } from '@likewise/events'
import { readTopicEnds } from '@likewise/kafka'
import { pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { likewise } from '../command-line.ts'
import { ownKafka } from '../own-servers.ts'
import { type ConsumerBed, makeConsumerBed } from './bed.ts'
import { exact } from './effects.ts'
import { likeRecord, startTopicLoad } from './load.ts'

let broker: Awaited<ReturnType<typeof ownKafka>>
let bed: ConsumerBed
beforeAll(async () => {
  broker = await ownKafka()
}, 120_000)
afterAll(() => broker.remove(), 60_000)
beforeEach(async () => {
  bed = await makeConsumerBed({ kafkaBrokers: broker.server.brokers })
}, 60_000)
afterEach(() => bed.stop(), 60_000)

const settings = () => ({
  KAFKA_BROKERS: bed.kafkaBrokers,
  METRICS_DATABASE_URL: bed.databaseUrl,
  CONSUMER_GROUP: bed.group,
})
const addPartitions = () => likewise(settings(), 'topics', '--partitions', '24')
const usedPartitions = async () =>
  (await readTopicEnds(bed.kafka, topics.catalogEvents)).filter(({ end }) => end > 0n).length

describe('partitions 12 → 24', () => {
  it('under load: each event has its effect once, also those of partitions that nobody knew of at first (I2, I3, I6)', async () => {
    await Promise.all([bed.consumer(), bed.consumer()])
    const before = startTopicLoad(bed.publisher, { keys: 60 })
    await pause(3_000)
    const used = await usedPartitions()
    expect(await addPartitions()).toContain('has 24 partitions, before 12')
    await pause(2_000)
    const events = await before.stop()
    // A producer learns of them when it connects anew; the consumers look every 30 s.
    const after = startTopicLoad(bed.freshPublisher(), { keys: 60, first: events + 1 })
    await pause(5_000)
    const all = events + (await after.stop())
    expect(await usedPartitions()).toBeGreaterThan(used)
    const { outOfOrder: _o, ...found } = await bed.effects(120_000)
    const { outOfOrder: _e, ...wanted } = exact
    expect(found).toMatchObject({ ...wanted, events: all, handled: all })
  }, 300_000)

  it('after the old ones are drained, as docs/operations.md says: each key stays in order, also one that is parked (I2, I3, I4, I9)', async () => {
    await Promise.all([bed.consumer(), bed.consumer()])
    const before = startTopicLoad(bed.publisher, { keys: 60 })
    await pause(3_000)
    const old = await before.stop() // 1. the relays are stopped
    const parked = Array.from({ length: 12 }, (_, i) => ({ ...likeRecord(old + 1, i + 1), value: '{' }))
    await bed.publisher.publish(parked)
    await bed.effects() // 2. nothing waits
    const used = await usedPartitions()
    await addPartitions() // 3.
    const after = startTopicLoad(bed.freshPublisher(), {
      // 4. the relays are started
      keys: 60,
      first: old + 61,
    })
    await pause(5_000)
    const events = old + (await after.stop())
    expect(await usedPartitions()).toBeGreaterThan(used)

    // The keys that waited by then wait in their new partitions too.
    const found = await bed.effects(120_000)
    expect(found).toMatchObject({
      ...exact,
      events,
      parked: [expect.stringMatching(/^behind_parked /), 'not_json 12'],
    })
    expect(found.handled).toBeLessThan(events)
    await likewise(settings(), 'dead-letters', 'discard', '--reason', 'not_json')
    expect(await bed.effects()).toMatchObject({ ...exact, events, handled: events })
  }, 300_000)
})
