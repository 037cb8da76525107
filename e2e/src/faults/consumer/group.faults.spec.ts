import type { RunningService } from '@likewise/local-servers'
import { pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import { eventually } from '../../system.ts'
import { kill, leave, readMetric } from '../bed.ts'
import { ownKafka } from '../own-servers.ts'
import { type ConsumerBed, makeConsumerBed } from './bed.ts'
import { exact } from './effects.ts'
import { startTopicLoad } from './load.ts'

let broker: Awaited<ReturnType<typeof ownKafka>>
let bed: ConsumerBed
beforeAll(async () => {
  broker = await ownKafka()
}, 120_000)
afterAll(() => broker.remove(), 60_000)
afterEach(() => bed.stop(), 60_000)

describe('consumers', () => {
  it('join and leave every 3 s for a minute under load: each event has its effect once, in order (I2, I3, I4, I6)', async () => {
    bed = await makeConsumerBed({ kafkaBrokers: broker.server.brokers })
    const members = [bed.consumer()]
    const left: Promise<void>[] = []
    await members[0]
    const load = startTopicLoad(bed.publisher)
    for (let round = 0; round < 20; round += 1) {
      members.push(bed.consumer()) // how long it takes to be ready keeps nobody waiting
      await pause(3_000)
      if (members.length > 3) left.push(...members.splice(0, 1).map((oldest) => oldest.then(leave)))
    }
    await Promise.all([...left, ...members])
    const events = await load.stop()
    expect(await bed.effects(120_000)).toMatchObject({ ...exact, events, handled: events })
  }, 400_000)

  it('more than there are partitions stand by, ready; of those that have one, each is killed, and all goes on (I2, I3, I4, I6)', async () => {
    bed = await makeConsumerBed({ kafkaBrokers: broker.server.brokers, partitions: 2 })
    const consumers = await Promise.all(Array.from({ length: 4 }, () => bed.consumer()))
    await eventually(async () => (await holdersOf(consumers)).length === 2)
    const load = startTopicLoad(bed.publisher)
    for (let round = 0; round < 2; round += 1) {
      const [holder] = await holdersOf(consumers)
      if (holder === undefined) throw new Error('Nobody has a partition.')
      await kill(holder)
      consumers.splice(consumers.indexOf(holder), 1)
      await eventually(async () => (await holdersOf(consumers)).length === 2, 60_000)
      for (const { url } of consumers) expect((await fetch(`${url}/readyz`)).status).toBe(200)
    }
    const events = await load.stop()
    expect(await bed.effects()).toMatchObject({ ...exact, events, handled: events })
  }, 300_000)
})

/** Those that tell the lag of a partition have it. */
async function holdersOf(consumers: readonly RunningService[]): Promise<RunningService[]> {
  const held = await Promise.all(
    consumers.map(async ({ url }) =>
      /^likewise_inbox_lag_records\{/m.test(await (await fetch(`${url}/metrics`)).text()),
    ),
  )
  const joined = await Promise.all(consumers.map((consumer) => readMetric(consumer, 'likewise_inbox_joined')))
  return consumers.filter((_, i) => held[i] && joined[i] === 1)
}
