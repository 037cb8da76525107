import { randomBytes, randomUUID } from 'node:crypto'
import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { encode } from '@likewise/events'
import { type Subscriber, buildPublisher, ensureTopics, removeTopics, subscribe } from '@likewise/kafka'
import { buildLogger, buildTelemetry, parseBrokers, pause } from '@likewise/service'
import { afterAll, beforeAll, expect, it } from '@jest/globals'
import { buildConsumer } from './consumer.ts'

const dayMs = 86_400_000
const log = buildLogger({ service: 'test', level: 'silent' })
const kafka = {
  brokers: parseBrokers(process.env['KAFKA_BROKERS'] ?? ''),
  clientId: 'test',
  requestTimeoutMs: 10_000,
  log,
}
const topic = `test-${randomUUID()}`
const groupId = `test-${randomUUID()}`
const publisher = buildPublisher({ ...kafka, client: 'kafkajs', sendLimitMs: 10_000 })
const failures: unknown[] = []
const members: Subscriber[] = []
let test: TestDatabase

beforeAll(async () => {
  test = await freshDatabase('standstill')
  await ensureTopics(kafka, [{ topic, partitions: 4, replicationFactor: 1, retentionMs: dayMs }])
})
afterAll(async () => {
  await Promise.all(members.map((member) => member.stop()))
  await publisher.stop()
  await removeTopics(kafka, [topic])
  await test.drop()
})

function consume(): Subscriber {
  const telemetry = buildTelemetry('test')
  const horizon = { dedupHorizonMs: 30 * dayMs, futureMaxMs: dayMs }
  const limits = { horizon, transactionsAtOnceMax: 2 }
  const onBatch = buildConsumer({
    db: test.as('likewise_consumer'),
    consumer: groupId,
    ...limits,
    log,
    telemetry,
  })
  const fail = (error: unknown) => failures.push(error)
  const member = subscribe({ ...kafka, groupId, topic, partitionsAtOnceMax: 2, onBatch, telemetry, fail })
  members.push(member)
  return member
}

function like(productId: number) {
  const hex = Date.now().toString(16).padStart(12, '0')
  const random = randomBytes(8).toString('hex')
  const id = `${hex.slice(0, 8)}-${hex.slice(8)}-7${random.slice(0, 3)}-9${random.slice(3, 6)}-${random.slice(4, 16)}`
  const createdAt = '2026-11-22T09:14:05.402817Z'
  const data = { userId: 1, productId, createdAt }
  const { key, value, headers } = encode({
    type: 'catalog.like.added.v1',
    id,
    source: '/test',
    time: createdAt,
    data,
  })
  return { topic, key, value, headers }
}
const likes = (count: number) => Array.from({ length: count }, (_, i) => like(1 + (i % 10)))

async function counted(): Promise<number> {
  const [row] = await test.db.query<{ sum: bigint | null }>(
    sql`select sum(like_count)::bigint as sum from metrics.product_metrics`,
  )
  return Number(row?.sum ?? 0n)
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 40_000; !(await holds()); await pause(20)) {
    if (performance.now() > end) throw new Error(`Not within 40 s: ${what}`)
  }
}

it('a process whose event loop is blocked for 45 s in the middle of its work goes on by itself; each like counts once (I2, I3, I6, I10)', async () => {
  const member = consume()
  await publisher.publish(likes(100))
  await until('the first likes are counted', async () => (await counted()) === 100)
  const more = likes(400)
  for (let at = 0; at < more.length; at += 100) await publisher.publish(more.slice(at, at + 100))
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 45_000)
  await publisher.publish([...more.slice(0, 50), ...likes(100)]) // as a relay would repeat a page
  await until('all likes are counted', async () => (await counted()) === 600)
  await until('the member is itself again', async () => member.joined() && member.fault() === null)
  expect(await counted()).toBe(600)
  expect(failures).toEqual([])
}, 150_000)
