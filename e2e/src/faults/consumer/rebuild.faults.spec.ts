import { sql } from '@likewise/database'
import { readRebuild } from '@likewise/inbox'
import { pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { eventually } from '../../system.ts'
import { likewise } from '../command-line.ts'
import { ownKafka, ownPostgres } from '../own-servers.ts'
import { lockRebuild } from '../table-lock.ts'
import { type ConsumerBed, makeConsumerBed } from './bed.ts'
import { exact } from './effects.ts'
import { likeRecords, startTopicLoad } from './load.ts'

let broker: Awaited<ReturnType<typeof ownKafka>>
let postgres: Awaited<ReturnType<typeof ownPostgres>>
let bed: ConsumerBed
beforeEach(async () => {
  ;[broker, postgres] = await Promise.all([ownKafka(), ownPostgres()])
  const { url: databaseUrl } = postgres.server
  bed = await makeConsumerBed({ kafkaBrokers: broker.server.brokers, databaseUrl })
}, 120_000)
afterEach(async () => {
  await bed.stop()
  await Promise.all([broker.remove(), postgres.remove()])
}, 60_000)

/** More than a rebuild reads ahead of what it counts: it needs both servers afterwards, too. */
const before = 24_000

const rebuild = (...options: string[]) =>
  likewise(
    { METRICS_DATABASE_URL: bed.databaseUrl, KAFKA_BROKERS: bed.kafkaBrokers, CONSUMER_GROUP: bed.group },
    'rebuild',
    ...options,
  )

/**
 * A model that is wrong is rebuilt and switched under load, and `disturb` comes in the middle of a step. @returns what the
 * rebuild said.
 */
async function rebuildDuring(disturb: () => Promise<void>): Promise<string> {
  const page = 500
  for (let first = 1; first <= before; first += page) {
    await bed.publisher.publish(likeRecords({ first, count: page }))
  }
  await Promise.all([bed.consumer(), bed.consumer()])
  expect(await bed.effects()).toMatchObject({ ...exact, events: before })
  await bed.db.execute(
    sql`update metrics.product_metrics set like_count = like_count + 7 where product_id <= 3`,
  )
  await bed.db.execute(sql`delete from metrics.product_like_windows where product_id = 5`)

  const load = startTopicLoad(bed.publisher, { first: before + 1 })
  const rebuilt = rebuild('--switch')
  await eventually(async () => ((await readRebuild(bed.db))?.counted ?? 0n) > 0n, 90_000)
  const lock = await lockRebuild(bed.db)
  await lock.waiting()
  await disturb()
  await lock.release().catch(() => undefined) // where its own connection is gone, so is the lock
  const said = await rebuilt
  expect(said).toContain('Switched: the live model is what was rebuilt.')
  const events = before + (await load.stop())
  expect(await bed.effects(120_000)).toMatchObject({ ...exact, events, handled: events })
  expect(await rebuild()).toContain('Both models say the same.')
  return said
}

describe('during a rebuild under load', () => {
  it('PostgreSQL is killed and started again: the rebuild waits, goes on and switches; each event is counted once (I2, I3, I6)', async () => {
    const said = await rebuildDuring(async () => {
      await postgres.server.process?.stop('SIGKILL', 0)
      await pause(5_000)
      await postgres.server.start()
    })
    expect(said).toContain('  waits: ')
  }, 400_000)

  it('Kafka is killed and started again: the rebuild waits, goes on and switches; each event is counted once (I2, I3, I6)', async () => {
    await rebuildDuring(async () => {
      await broker.server.kill()
      await pause(5_000)
      await broker.server.start()
    })
  }, 400_000)
})
