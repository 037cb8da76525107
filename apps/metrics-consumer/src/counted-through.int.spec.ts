import { randomUUID } from 'node:crypto'
import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { readCountedThrough } from '@likewise/inbox'
import { buildPublisher, ensureTopics, removeTopics } from '@likewise/kafka'
import { buildLogger, parseBrokers, pause } from '@likewise/service'
import { afterAll, beforeAll, expect, it } from '@jest/globals'
import { keepCountedThrough } from './counted-through.ts'

const log = buildLogger({ service: 'test', level: 'silent' })
const kafka = {
  brokers: parseBrokers(process.env['KAFKA_BROKERS'] ?? ''),
  clientId: 'test',
  requestTimeoutMs: 10_000,
  log,
}
const topic = `test-${randomUUID()}`
const consumer = `test-${randomUUID()}`
const publisher = buildPublisher({ ...kafka, client: 'kafkajs', sendLimitMs: 10_000 })
let test: TestDatabase

beforeAll(async () => {
  test = await freshDatabase('keep_counted_through')
  await ensureTopics(kafka, [{ topic, partitions: 1, replicationFactor: 1, retentionMs: 86_400_000 }])
})
afterAll(async () => {
  await publisher.stop()
  await removeTopics(kafka, [topic])
  await test.drop()
})

async function throughMs(): Promise<number | null> {
  const { all } = await readCountedThrough(test.as('likewise_reader'), { consumer, topic })
  return all === null ? null : Date.parse(all)
}

async function nowMs(): Promise<number> {
  const [row] = await test.db.query<{ ms: number }>(
    sql`select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms`,
  )
  return row?.ms ?? Number.NaN
}

async function eventually(check: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 30_000; !(await check()); await pause(20))
    if (performance.now() > end) throw new Error('Not within 30 s.')
}

it('goes along with the clock while nothing waits on the topic, and stands still while something does', async () => {
  const stop = keepCountedThrough({ db: test.as('likewise_consumer'), consumer, topic, kafka, everyMs: 20 })
  try {
    const begun = await nowMs()
    await eventually(async () => ((await throughMs()) ?? 0) > begun + 1_000)
    await publisher.publish([{ topic, key: '100', value: 'an event', headers: {} }])
    const published = await nowMs()
    // what was asked before the record came may still be written
    await eventually(async () => (await nowMs()) > published + 1_000)
    const stuck = (await throughMs()) ?? Number.NaN
    expect(stuck).toBeLessThanOrEqual(published)
    await test.db.execute(sql`
      insert into metrics.consumer_offsets (consumer, topic, partition, next_offset) values (${consumer}, ${topic}, 0, 1)`)
    const counted = await nowMs()
    await eventually(async () => ((await throughMs()) ?? 0) > counted)
  } finally {
    await stop()
  }
}, 90_000)
