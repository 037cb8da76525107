import { pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { enqueue } from '@likewise/outbox'
import { eventually } from '../system.ts'
import { allowWriting, forbidWriting } from './acl.ts'
import { type Bed, isWal, makeBed, readMetric } from './bed.ts'
import { brokerFaults } from './broker-faults.ts'
import { delivered, readUnsettled } from './delivery.ts'
import { likesOf, startLoad } from './load.ts'
import { ownKafka } from './own-servers.ts'

const downMs = Number(process.env['FAULTS_BROKER_DOWN_MS'] || 600_000)
const authorizer = [
  'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer',
  'allow.everyone.if.no.acl.found=true',
]

let broker: Awaited<ReturnType<typeof ownKafka>>
let bed: Bed
beforeEach(async () => {
  broker = await ownKafka(authorizer)
  bed = await makeBed({ kafkaBrokers: broker.server.brokers })
}, 120_000)
afterEach(async () => {
  await bed.stop()
  await broker.remove()
}, 60_000)

/** All that was written while `disturb` went on arrives, in order, and nothing is parked. */
async function underLoad(disturb: () => Promise<void>, perSecond = 300): Promise<void> {
  await Promise.all([bed.relay(), bed.relay()])
  const load = startLoad(bed.db, bed.topic, { perSecond })
  await pause(2_000)
  await disturb()
  await pause(2_000)
  const committed = await load.stop()
  expect(await bed.delivery(180_000)).toMatchObject({ ...delivered, events: committed, arrived: committed })
}

describe('the broker', () => {
  it.each(brokerFaults)(
    '$name: first copies in order (I1, I4, I6)',
    ({ disturb }) => underLoad(() => disturb(broker.server)),
    600_000,
  )

  it(
    `is down for ${String(downMs / 1_000)} s under load: every event arrives, in order, none parked (I1, I4, I6)`,
    async () => {
      await underLoad(async () => {
        await broker.server.kill()
        await pause(downMs)
        await broker.server.start()
      }, 100)
    },
    downMs + 400_000,
  )

  it('takes the right to write away and gives it back: nothing is parked or lost (I1, I4, I9)', async () => {
    const relay = await bed.relay()
    await enqueue(bed.db, likesOf(bed.topic, { first: 1, count: 100 }))
    expect(await bed.delivery()).toMatchObject(delivered)
    await forbidWriting(broker.server.brokers, bed.topic)
    await enqueue(bed.db, likesOf(bed.topic, { first: 101, count: 100 }))
    // More tries than a refused event gets.
    await eventually(
      async () => (await readMetric(relay, 'likewise_outbox_publish_failures_total')) >= 24,
      60_000,
    )
    // Attempts stand on the cursors, which a relay that reads the WAL leaves where they are.
    expect(await readUnsettled(bed.db)).toEqual([isWal ? 'PENDING 100' : 'FAILED 100'])
    await allowWriting(broker.server.brokers, bed.topic)
    expect(await bed.delivery()).toMatchObject({ ...delivered, events: 200, arrived: 200 })
  }, 200_000)
})
