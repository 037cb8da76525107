import { randomUUID } from 'node:crypto'
import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx, readWaiting } from '@likewise/database/testing'
import { encode } from '@likewise/events'
import { readMarks } from '@likewise/inbox'
import { type KafkaOptions, buildPublisher, ensureTopics, removeTopics, subscribe } from '@likewise/kafka'
import { buildLogger, buildTelemetry, parseBrokers, pause } from '@likewise/service'
import { afterAll, beforeAll, expect, it, jest } from '@jest/globals'
import { buildConsumer } from './consumer.ts'

// See libs/kafka/src/subscriber.int.spec.ts: kafkajs may wedge in silence while it joins a group.
jest.retryTimes(2, { logErrorsBeforeRetry: true })
jest.setTimeout(90_000)

const dayMs = 86_400_000
const createdAt = '2026-11-22T09:14:05.402817Z'
const log = buildLogger({ service: 'test', level: 'silent' })
const kafka: KafkaOptions = {
  brokers: parseBrokers(process.env['KAFKA_BROKERS'] ?? ''),
  clientId: 'test',
  requestTimeoutMs: 10_000,
  log,
}
const topics: string[] = []
let test: TestDatabase

beforeAll(async () => {
  test = await freshDatabase('topic_again')
})
afterAll(async () => {
  await removeTopics(kafka, topics)
  await test.drop()
})

function idAt(ms: number, n: number): string {
  const hex = ms.toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-9000-${String(n).padStart(12, '0')}`
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 40_000; !(await holds()); await pause(50)) {
    if (performance.now() > end) throw new Error(`Not in time: ${what}`)
  }
}

function system() {
  const [topic, group] = [`test-${randomUUID()}`, `test-${randomUUID()}`]
  topics.push(topic)
  let made = 0
  return {
    make: async () => {
      const plan = { topic, partitions: 1, replicationFactor: 1, retentionMs: 3_600_000 }
      await until('the topic is made', () =>
        ensureTopics(kafka, [plan]).then(
          (names) => names.length === 1,
          () => false,
        ),
      )
    },
    remove: () => removeTopics(kafka, [topic]),
    async send(productId: number, ages: readonly number[]): Promise<void> {
      const publisher = buildPublisher({ ...kafka, sendLimitMs: 10_000 })
      const records = ages.map((ageMs) => {
        const data = { userId: (made += 1), productId, createdAt }
        const about = { type: 'catalog.like.added.v1', source: '/test', time: createdAt } as const
        return { topic, ...encode({ ...about, id: idAt(Date.now() - ageMs, made), data }) }
      })
      await publisher.publish(records)
      await publisher.stop()
    },
    start() {
      const horizon = { dedupHorizonMs: 30 * dayMs, futureMaxMs: dayMs }
      const telemetry = buildTelemetry('test')
      const onBatch = buildConsumer({
        db: test.as('likewise_consumer'),
        consumer: group,
        horizon,
        transactionsAtOnceMax: 3,
        log,
        telemetry,
      })
      const fail = (error: unknown) => expect(error).toBeUndefined()
      const member = subscribe({
        ...kafka,
        groupId: group,
        topic,
        partitionsAtOnceMax: 2,
        onBatch,
        log,
        fail,
      })
      return { member, telemetry }
    },
    mark: async () =>
      Number((await readMarks(test.as('likewise_consumer'), group, topic))[0]?.nextOffset ?? 0),
    letters: () =>
      test.db.query<{ reason: string; blocks: boolean }>(sql`
        select reason, blocks_key as blocks from metrics.dead_letters where consumer = ${group} order by id`),
  }
}

const countOf = async (productId: number): Promise<number> => {
  const [row] = await test.db.query<{ n: bigint }>(
    sql`select like_count as n from metrics.product_metrics where product_id = ${productId}::bigint`,
  )
  return Number(row?.n ?? 0)
}

it('a topic that was deleted and made again does not hide behind the mark', async () => {
  const it = system()
  await it.make()
  await it.send(1, [0, 0, 0, 0, 0])
  const before = it.start()
  await until('five are counted', async () => (await countOf(1)) === 5)
  await before.member.stop()
  await it.remove()
  await it.make()
  await it.send(1, [0, 0, 0])
  const after = it.start()
  await until(
    'the new three are counted too',
    async () => (await countOf(1)) === 8 && (await it.mark()) === 3,
  )
  await it.send(1, [0])
  await until('it goes on', async () => (await countOf(1)) === 9 && (await it.mark()) === 4)
  await after.member.stop()
  expect(await after.telemetry.text()).toContain('likewise_inbox_log_resets_total 1\n')
})

it('a topic that was deleted and made again while a batch was in hand does not pass for the old one', async () => {
  const it = system()
  const product = 1_000 + topics.length // of its own for each try
  await it.make()
  await it.send(product, [0, 0])
  const { member, telemetry } = it.start()
  try {
    await until('two are counted', async () => (await countOf(product)) === 2)
    const lock = await openTx(test.db)
    await lock.tx.execute(sql`lock table metrics.product_metrics in share mode`)
    await it.send(product, [0])
    await until('the third is in hand', async () => (await readWaiting(test.db)).length > 0)
    await it.remove()
    await it.make()
    await it.send(product, [0, 0, 0, 0, 0])
    // Sooner than that nobody deletes a topic, makes it again and fills it further than it was.
    await pause(2_500)
    await lock.commit()
    await until('the new five are counted too', async () => (await countOf(product)) === 8)
    await until('all is marked', async () => (await it.mark()) === 5)
  } finally {
    await member.stop()
  }
  expect(await telemetry.text()).toContain('likewise_inbox_log_resets_total 1\n')
})

it('a restart looks at the record before the mark and goes on; an event past the horizon parks alone (I9)', async () => {
  const it = system()
  await it.make()
  await it.send(2, [0, 0])
  const before = it.start()
  await until('two are counted', async () => (await countOf(2)) === 2)
  await before.member.stop()
  await it.send(2, [31 * dayMs, 0, -2 * dayMs, 0])
  const after = it.start()
  await until('all is read', async () => (await it.mark()) === 6)
  await after.member.stop()
  expect(await countOf(2)).toBe(4)
  expect(await it.letters()).toEqual([
    { reason: 'too_old', blocks: false },
    { reason: 'from_future', blocks: false },
  ])
  expect(await after.telemetry.text()).toContain('likewise_inbox_log_resets_total 0\n')
})
