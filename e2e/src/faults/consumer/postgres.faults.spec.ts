import { pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { readMetric } from '../bed.ts'
import { ownKafka, ownPostgres } from '../own-servers.ts'
import { type ConsumerBed, makeConsumerBed } from './bed.ts'
import { exact } from './effects.ts'
import { startTopicLoad } from './load.ts'

let broker: Awaited<ReturnType<typeof ownKafka>>
let postgres: Awaited<ReturnType<typeof ownPostgres>>
let bed: ConsumerBed
beforeAll(async () => {
  broker = await ownKafka()
}, 120_000)
afterAll(() => broker.remove(), 60_000)
beforeEach(async () => {
  postgres = await ownPostgres()
  const { url: databaseUrl } = postgres.server
  bed = await makeConsumerBed({ kafkaBrokers: broker.server.brokers, databaseUrl })
}, 120_000)
afterEach(async () => {
  await bed.stop()
  await postgres.remove()
}, 60_000)

/** Two consumers under load while `disturb` goes on: all is handled once, by the same processes, and nothing parked. */
async function underLoad(disturb: (url: string) => Promise<void>): Promise<void> {
  const consumers = await Promise.all([bed.consumer(), bed.consumer()])
  const load = startTopicLoad(bed.publisher)
  await pause(3_000)
  await disturb(consumers[0].url)
  await pause(3_000)
  const events = await load.stop()
  expect(await bed.effects(180_000)).toMatchObject({ ...exact, events, handled: events })
  const ended = consumers.filter(({ process }) => process.hasExited())
  expect(await Promise.all(ended.map(({ process }) => process.outputTail()))).toEqual([])
  for (const consumer of consumers) {
    expect(await readMetric(consumer, 'likewise_inbox_client_restarts_total{reason="watchdog"}')).toBe(0)
  }
}

describe('PostgreSQL', () => {
  it.each(['SIGQUIT', 'SIGKILL'] as const)(
    'stops at once (%s) and starts again, three times under load: each event has its effect once, in order, none parked (I2, I3, I4, I6)',
    async (signal) => {
      await underLoad(async () => {
        for (let round = 0; round < 3; round += 1) {
          await postgres.server.process?.stop(signal, 10_000) // SIGQUIT is what pg_ctl stop -m immediate sends
          await pause(2_000)
          await postgres.server.start()
          await pause(3_000)
        }
      })
    },
    300_000,
  )

  it('is down for two minutes under load: consumers are unready and wait, in their group; then all is handled, none parked (I2, I3, I4, I6, I8)', async () => {
    await underLoad(async (url) => {
      await postgres.server.kill()
      await pause(10_000)
      expect((await fetch(`${url}/readyz`)).status).toBe(503)
      await pause(110_000)
      await postgres.server.start()
    })
  }, 600_000)
})
