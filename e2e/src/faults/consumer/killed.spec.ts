import { sql } from '@likewise/database'
import { topics } from '@likewise/events'
import { readGroupPositions } from '@likewise/kafka'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { eventually } from '../../system.ts'
import { kill, leave, readMetric } from '../bed.ts'
import { type Link, openLink } from '../link.ts'
import { ownKafka } from '../own-servers.ts'
import { lockEffects } from '../table-lock.ts'
import { type ConsumerBed, makeConsumerBed } from './bed.ts'
import { exact } from './effects.ts'
import { likeRecords } from './load.ts'

/** Of each partition a few records, which are handled by one statement; and so many that they take a transaction. */
const [warm, count, many] = [40, 400, 2_400]
const skipped = 'likewise_inbox_records_total{result="skipped"}'
const duplicates = 'likewise_inbox_records_total{result="duplicate"}'

let broker: Awaited<ReturnType<typeof ownKafka>>
let bed: ConsumerBed
let link: Link
beforeAll(async () => {
  broker = await ownKafka()
}, 120_000)
afterAll(() => broker.remove(), 60_000)
beforeEach(async () => {
  bed = await makeConsumerBed({ kafkaBrokers: broker.server.brokers })
  link = await openLink(bed.kafkaBrokers)
}, 60_000)
afterEach(async () => {
  await link.stop()
  await bed.stop()
}, 60_000)

let sent = 0
async function send(more: number): Promise<void> {
  await bed.publisher.publish(likeRecords({ first: sent + 1, count: more }))
  sent += more
}
const handled = async () => {
  const [row] = await bed.db.query<{ count: bigint }>(
    sql`select count(*) as count from metrics.event_handled`,
  )
  return Number(row?.count)
}
const committed = async () =>
  (await readGroupPositions(bed.kafka, topics.catalogEvents, bed.group)).reduce(
    (sum, { committed: told }) => sum + Number(told ?? 0),
    0,
  )

/** A consumer that has its partitions and has told the broker of the first events. */
async function consumerOverLink() {
  sent = 0
  const consumer = await bed.consumer({ kafkaBrokers: link.address })
  await send(warm)
  await eventually(async () => (await committed()) === warm)
  return consumer
}

describe('kill -9 of the consumer', () => {
  const inHand = async (more: number) => {
    const consumer = await consumerOverLink()
    const lock = await lockEffects(bed.db)
    await send(more)
    await lock.waiting()
    await kill(consumer)
    await lock.release()
    const next = await bed.consumer()
    expect(await bed.effects()).toEqual({ ...exact, events: sent, handled: sent, repeats: 0 })
    expect(await readMetric(next, duplicates)).toBe(0)
    return readMetric(next, skipped)
  }

  it('inside its transaction: nothing of it is left, and the next one gives each event its effect once (I2, I6)', async () => {
    // No more than the record before each mark, which is looked at.
    expect(await inHand(many)).toBeLessThanOrEqual(12)
  }, 120_000)

  it('inside its one statement, which PostgreSQL ends by itself: the next one passes over what it did (I2, I6)', async () => {
    expect(await inHand(count)).toBeGreaterThan(12)
  }, 120_000)

  it('between its commit and that of the offset: what comes again is passed over by its offset (I2, I6)', async () => {
    const consumer = await consumerOverLink()
    const lock = await lockEffects(bed.db)
    await send(count)
    await lock.waiting()
    link.hold('up') // what has come is handled, and the broker is not told
    await lock.release()
    await eventually(async () => (await handled()) > warm)
    const before = await handled()
    await kill(consumer)
    expect(await committed()).toBe(warm)

    const next = await bed.consumer()
    expect(await bed.effects()).toEqual({ ...exact, events: sent, handled: sent, repeats: 0 })
    expect(await readMetric(next, skipped)).toBeGreaterThanOrEqual(before - warm)
    expect(await readMetric(next, duplicates)).toBe(0)
  }, 120_000)
})

describe('SIGSTOP of a consumer inside its transaction, past its session', () => {
  it('another takes its partitions over; awake, it changes nothing that it no longer owns, and goes on (I2, I6, I10)', async () => {
    const sleeper = await consumerOverLink()
    const lock = await lockEffects(bed.db)
    await send(count)
    await lock.waiting()
    process.kill(sleeper.process.pid, 'SIGSTOP')
    const other = await bed.consumer()
    await lock.release()
    const taken = { ...exact, events: sent, handled: sent, repeats: 0 }
    expect(await bed.effects()).toEqual(taken)

    process.kill(sleeper.process.pid, 'SIGCONT')
    await eventually(async () => (await readMetric(sleeper, 'likewise_inbox_rebalances_total')) > 1)
    expect(await bed.effects()).toEqual(taken)

    await leave(other)
    await send(count)
    expect(await bed.effects()).toEqual({ ...exact, events: sent, handled: sent, repeats: 0 })
    expect(await readMetric(sleeper, 'likewise_inbox_client_restarts_total{reason="watchdog"}')).toBe(0)
  }, 150_000)
})
