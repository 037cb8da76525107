import { pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { readMetric } from '../bed.ts'
import { brokerFaults } from '../broker-faults.ts'
import { ownKafka } from '../own-servers.ts'
import { type ConsumerBed, makeConsumerBed } from './bed.ts'
import { exact } from './effects.ts'
import { startTopicLoad } from './load.ts'

let broker: Awaited<ReturnType<typeof ownKafka>>
let bed: ConsumerBed
beforeEach(async () => {
  broker = await ownKafka()
  bed = await makeConsumerBed({ kafkaBrokers: broker.server.brokers })
}, 120_000)
afterEach(async () => {
  await bed.stop()
  await broker.remove()
}, 60_000)

/** Two consumers under load while `disturb` goes on: all is handled once, by the same processes, and nothing parked. */
async function underLoad(disturb: () => Promise<void>): Promise<void> {
  const consumers = await Promise.all([bed.consumer(), bed.consumer()])
  const load = startTopicLoad(bed.publisher)
  await pause(2_000)
  await disturb()
  await pause(2_000)
  const events = await load.stop()
  expect(await bed.effects(180_000)).toMatchObject({ ...exact, events, handled: events })
  expect(consumers.map(({ process }) => process.hasExited())).toEqual([false, false])
  for (const consumer of consumers) {
    expect(await readMetric(consumer, 'likewise_inbox_client_restarts_total{reason="watchdog"}')).toBe(0)
  }
}

describe('the broker', () => {
  it.each(brokerFaults)(
    '$name: each event has its effect once, in order (I2, I3, I4, I6, I8)',
    ({ disturb }) => underLoad(() => disturb(broker.server)),
    600_000,
  )
})
