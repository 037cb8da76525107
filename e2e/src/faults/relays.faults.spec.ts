import { sql } from '@likewise/database'
import { LikeAdded, aggregateType } from '@likewise/events'
import type { RunningService } from '@likewise/local-servers'
import { enqueue, enqueueRows } from '@likewise/outbox'
import { pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { eventually } from '../system.ts'
import { type Bed, kill, leave, makeBed, readPeakBytes, retentionMs } from './bed.ts'
import { delivered, readUnsettled } from './delivery.ts'
import { likesOf, startLoad } from './load.ts'
import { clockMovedBy } from './moved-clock.ts'
import { ownKafka } from './own-servers.ts'

let bed: Bed
let broker: Awaited<ReturnType<typeof ownKafka>> | undefined
beforeEach(async () => {
  bed = await makeBed()
})
afterEach(async () => {
  await bed.stop()
  await broker?.remove()
  broker = undefined
}, 60_000)

describe('relays', () => {
  it('join and leave every 3 s, four at most, every other one killed: first copies in order (I1, I4, I6)', async () => {
    const running: RunningService[] = []
    const load = startLoad(bed.db, bed.topic)
    for (let round = 0; round < 12; round += 1) {
      running.push(await bed.relay())
      await pause(3_000)
      const [oldest] = running
      if (oldest === undefined || running.length < 4) continue
      await (round % 2 === 0 ? leave(oldest) : kill(oldest))
      running.shift()
    }
    const committed = await load.stop()
    expect(await bed.delivery()).toMatchObject({ ...delivered, events: committed, arrived: committed })
  }, 300_000)

  it('drain a million events that were there before: at most 200 MB, in order (I1, I4, I8)', async () => {
    const [count, perTransaction] = [1_000_000, 20_000]
    for (let first = 1; first <= count; first += perTransaction) await seed(first, first + perTransaction - 1)
    const relay = await bed.relay()
    const found = await bed.delivery(600_000)
    expect(found).toMatchObject({ ...delivered, events: count, arrived: count })
    expect(await readPeakBytes(relay)).toBeLessThanOrEqual(200_000_000)
  }, 1_800_000)
})

describe('a relay whose wall clock is further behind than the topic keeps its records', () => {
  // Kafka counts the retention from a record's time: where that is the sender's, it takes records away that nobody has read.
  it('sends records that stay on the topic (I1)', async () => {
    broker = await ownKafka(['log.retention.check.interval.ms=1000', 'log.initial.task.delay.ms=1000'])
    await bed.stop()
    bed = await makeBed({ kafkaBrokers: broker.server.brokers })
    await bed.relay({ env: { NODE_OPTIONS: clockMovedBy(-retentionMs - 86_400_000) } })
    await enqueue(bed.db, likesOf(bed.topic, { first: 1, count: 200 }))
    await eventually(async () => (await readUnsettled(bed.db)).length === 0)
    await pause(5_000)
    expect(await bed.delivery()).toMatchObject({ ...delivered, events: 200, arrived: 200 })
  }, 120_000)
})

/** The likes of the users from `first` to `last`, as enqueue would write them. */
async function seed(first: number, last: number): Promise<void> {
  await bed.db.execute(
    enqueueRows(sql`
      with products as materialized (
        select id, id::text as key, catalog.outbox_shard(id::text) as shard from generate_series(1, 500) as id
      )
      select shard, uuidv7(), ${aggregateType}, key, ${LikeAdded.properties.type.const}, ${bed.topic}, key,
             format('{"userId":%s,"productId":%s,"createdAt":"2026-11-23T12:00:00.000000Z"}', user_id, key)::json,
             null::text, null::json, now()
      from generate_series(${first}::int, ${last}::int) as user_id join products on products.id = user_id % 500 + 1
      order by user_id`),
  )
}
