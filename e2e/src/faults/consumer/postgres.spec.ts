import { pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { ownKafka } from '../own-servers.ts'
import { terminate } from '../table-lock.ts'
import { type ConsumerBed, makeConsumerBed } from './bed.ts'
import { exact } from './effects.ts'
import { startTopicLoad } from './load.ts'

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

describe('PostgreSQL', () => {
  it('ends every connection of two consumers every 2 s under load: each event has its effect once, in order, none parked (I2, I3, I4, I6)', async () => {
    const consumers = await Promise.all([bed.consumer(), bed.consumer()])
    const load = startTopicLoad(bed.publisher)
    let ended = 0
    for (let round = 0; round < 5; round += 1) {
      await pause(2_000)
      ended += await terminate(bed.db, 'metrics-consumer')
    }
    const events = await load.stop()
    expect(ended).toBeGreaterThan(10)
    expect(await bed.effects()).toMatchObject({ ...exact, events, handled: events })
    expect(consumers.map(({ process }) => process.hasExited())).toEqual([false, false])
  }, 120_000)
})
