import { randomBytes, randomUUID } from 'node:crypto'
import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { encode, topicPlans, topics } from '@likewise/events'
import { handleBatch } from '@likewise/inbox'
import { type IncomingRecord, type KafkaOptions, ensureTopics, subscribe } from '@likewise/kafka'
import { type Link, openLink } from '@likewise/kafka/testing'
import { applyToProductMetrics } from '@likewise/metrics'
import { buildLogger, buildTelemetry, parseBrokers, pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { startCopying } from './dead-letter-copy.ts'
import { watchDeadLetters } from './dead-letter-telemetry.ts'

const dayMs = 86_400_000
const log = buildLogger({ service: 'test', level: 'silent' })
const brokers = parseBrokers(process.env['KAFKA_BROKERS'] ?? '')
const kafka: KafkaOptions = { brokers, clientId: 'test', requestTimeoutMs: 5_000, log }
let test: TestDatabase
let consumer: string
let link: Link
const stops: (() => unknown)[] = []

beforeAll(async () => {
  test = await freshDatabase('dead_letter_copy')
  await ensureTopics(kafka, topicPlans)
})
afterAll(() => test.drop())
beforeEach(async () => {
  consumer = `test-${randomUUID()}`
  link = await openLink(brokers[0] ?? '')
})
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
  await link.close()
})

async function until(what: string, look: () => Promise<boolean> | boolean): Promise<void> {
  for (const end = performance.now() + 30_000; !(await look()); await pause(20))
    if (performance.now() > end) throw new Error(`Not within 30 s: ${what}`)
}

function copyBy(address: string): void {
  const subscriber = { partitions: () => [0] }
  const options = {
    db: test.as('likewise_consumer'),
    consumer,
    subscriber,
    telemetry: buildTelemetry('test'),
  }
  stops.push(startCopying({ ...options, kafka: { ...kafka, brokers: [address] } }))
}

/** What lies on the dead-letter topic of this consumer, as it comes. */
function readCopies(): IncomingRecord[] {
  const copies: IncomingRecord[] = []
  const member = subscribe({
    ...kafka,
    groupId: `test-${randomUUID()}`,
    topic: topics.deadLetters,
    partitionsAtOnceMax: 3,
    fail: () => undefined,
    onBatch: async ({ records }) => {
      copies.push(...records.filter(({ headers }) => String(headers['likewise_dlq_consumer']) === consumer))
    },
  })
  stops.push(() => member.stop())
  return copies
}

function record(offset: number, change: Partial<IncomingRecord> = {}): IncomingRecord {
  const hex = Date.now().toString(16).padStart(12, '0')
  const random = randomBytes(9).toString('hex')
  const id = `${hex.slice(0, 8)}-${hex.slice(8)}-7${random.slice(0, 3)}-9${random.slice(3, 6)}-${random.slice(6, 18)}`
  const time = '2026-11-22T09:14:05.402817Z'
  const data = { userId: offset + 1, productId: 100, createdAt: time }
  const { key, value, headers } = encode({ type: 'catalog.like.added.v1', source: '/test', id, time, data })
  return { offset: BigInt(offset), key, value: Buffer.from(value), headers, timeMs: Date.now(), ...change }
}

const handle = (records: IncomingRecord[]) =>
  handleBatch(test.as('likewise_consumer'), {
    scope: { consumer, topic: topics.catalogEvents, partition: 0 },
    records,
    horizon: { dedupHorizonMs: 30 * dayMs, futureMaxMs: dayMs },
    work: applyToProductMetrics,
  })

const poison: Record<string, Partial<IncomingRecord>> = {
  'not JSON': { value: Buffer.from('{"userId":') },
  'no value': { value: null },
  'not UTF-8': { value: Buffer.from([0x7b, 0xff, 0xfe, 0x00, 0x7d]) },
  'a prototype': { value: Buffer.from('{"__proto__":{"admin":true}}'), headers: { ['__proto__']: 'x', raw: Buffer.from([0, 255]) } },
  '900 KB': { value: randomBytes(900_000) },
  'all that Kafka takes': { value: randomBytes(1_047_000) },
  'no key': { key: null },
} // prettier-ignore

describe('copies of dead letters', () => {
  it('of poison are that poison, byte for byte, on the dead-letter topic (I9)', async () => {
    const records = Object.values(poison).map((change, offset) => record(offset, change))
    await handle(records)
    const copies = readCopies()
    copyBy(brokers[0] ?? '')
    await until('all copies have come', () => copies.length >= records.length)
    const byOffset = new Map(copies.map((one) => [Number(String(one.headers['likewise_dlq_offset'])), one]))
    for (const [offset, { key, value, headers }] of records.entries()) {
      const one = byOffset.get(offset)
      expect(one?.headers).not.toHaveProperty('likewise_dlq_left_out')
      expect([offset, one?.key]).toEqual([offset, key])
      expect([offset, value === null ? one?.value === null : one?.value?.equals(value)]).toEqual([
        offset,
        true,
      ])
      for (const [name, header] of Object.entries(headers)) {
        const came = Object.entries(one?.headers ?? {}).find(([own]) => own === name)?.[1]
        expect([name, came]).toEqual([name, Buffer.from(header as string)])
      }
    }
  }, 60_000)

  it('wait while Kafka is away, hold nobody up, and come in order when it is back, each at least once (I6, I9)', async () => {
    const broken = { value: Buffer.from('{') }
    await handle([record(0, broken)])
    await link.close()
    copyBy(link.address)
    await handle([record(1), record(2, broken)])
    const uncopied = sql`select 1 from metrics.dead_letters where consumer = ${consumer} and copied_at is null`
    expect(await test.db.query(uncopied)).toHaveLength(3)
    await link.open()
    await until('all are copied', async () => (await test.db.query(uncopied)).length === 0)
    const copies = readCopies()
    await until('the last copy has come', () =>
      copies.some(({ headers }) => String(headers['likewise_dlq_offset']) === '2'),
    )
    const first = [...new Set(copies.map(({ headers }) => String(headers['likewise_dlq_offset'])))]
    expect(first).toEqual(['0', '1', '2'])
  }, 60_000)
})

it('the telemetry tells what waits, by reason, the keys held back, and what has no copy yet', async () => {
  const telemetry = buildTelemetry('test')
  await handle([record(0, { value: Buffer.from('{') }), record(1), record(2)])
  stops.push(watchDeadLetters(test.as('likewise_consumer'), consumer, { telemetry, log }))
  await until('it has counted', async () =>
    (await telemetry.text()).includes('likewise_inbox_uncopied_dead_letters 3'),
  )
  const text = await telemetry.text()
  expect(text).toContain('likewise_inbox_dead_letters{reason="behind_parked"} 2\n')
  expect(text).toContain('likewise_inbox_dead_letters{reason="not_json"} 1\n')
  expect(text).toContain('likewise_inbox_parked_keys 1\n')
  expect(text).toMatch(/likewise_inbox_oldest_uncopied_age_seconds [0-9.]+\n/)
})
