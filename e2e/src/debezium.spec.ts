import { randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { raw, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { LikeAdded, LikeRemoved, aggregateType, decode } from '@likewise/events'
import { type KafkaOptions, ensureTopics, readTopicEnds, removeTopics } from '@likewise/kafka'
import {
  type Debezium,
  debeziumMissing,
  freePort,
  removeHome,
  startDebezium,
  startService,
  stopService,
  workspaceRoot,
} from '@likewise/local-servers'
import { enqueue, enqueueRows } from '@likewise/outbox'
import { buildLogger, parseBrokers } from '@likewise/service'
import { readRecords } from './order.ts'
import { eventually } from './system.ts'

// The real connector and the real relay publish the same rows, on the servers of the other tests: a topic and a
// database of our own are enough, and neither is ever stopped here.
const log = buildLogger({ service: 'e2e', level: 'silent' })
const brokers = process.env['KAFKA_BROKERS'] ?? ''
const topic = `debezium-${randomUUID()}`
const slot = `likewise_test_${randomUUID().slice(0, 8)}`
const source = '/like-api/test'
const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
const products = ['1', '7', '42', '100', '9007199254740991']

const missing = await debeziumMissing(process.env)
const describeIfThere = missing === undefined ? describe : describe.skip
if (missing !== undefined) process.stderr.write(`Skipped: the tests of Debezium. ${missing}\n`)

interface Copy {
  partition: number
  key: string | null
  value: string
  headers: Record<string, string>
  decoded: ReturnType<typeof decode>
}

describeIfThere('Debezium in the place of the relay', () => {
  let home: string
  let test: TestDatabase
  let debezium: Debezium | undefined
  let kafka: KafkaOptions

  beforeAll(async () => {
    kafka = { brokers: parseBrokers(brokers), clientId: 'e2e', requestTimeoutMs: 10_000, log }
    home = await mkdtemp(join(tmpdir(), 'likewise-debezium-'))
    await ensureTopics(kafka, [{ topic, partitions: 12, retentionMs: 3_600_000 }])
    test = await freshDatabase('debezium')
  }, 60_000)
  afterAll(async () => {
    await debezium?.kill()
    await removeHome(home)
    // A database cannot be dropped while its slot is in use, and the server notices a moment later that it is not.
    await eventually(async () => !(await isStreaming()))
    await test.drop()
    await removeTopics(kafka, [topic])
  }, 60_000)

  const start = () =>
    startDebezium({ home, databaseUrl: test.url, kafkaBrokers: brokers, slot, eventSource: source, log })

  const isStreaming = async () => {
    const rows = await test.db.query<{ active: boolean }>(
      sql`select active from pg_replication_slots where slot_name = ${slot}`,
    )
    return rows[0]?.active ?? false
  }

  const countRecords = async () =>
    (await readTopicEnds(kafka, topic)).reduce((sum, { end }) => sum + Number(end), 0)

  const arrived = (records: number) => eventually(async () => (await countRecords()) >= records, 60_000)

  it('publishes what the relay publishes: partition, key, value and every header', async () => {
    await writeEvents() // before the first start: from the table
    debezium = await start()
    await eventually(isStreaming)
    await writeEvents() // from the WAL
    await arrived(2 * written)
    await debezium.kill()
    await writeEvents() // while it is down
    debezium = await start()
    await arrived(3 * written)
    await debezium.stop()
    const byDebezium = await countRecords()
    await relayAll(byDebezium + 3 * written)

    const { first, last } = await readCopies()
    expect(first.size).toBe(3 * written)
    for (const [id, relayed] of last) {
      const copy = first.get(id)
      expect(copy).toEqual(relayed)
      expect(copy?.decoded.kind).toBe('event')
    }
    expect(keyOrder(first)).toEqual(keyOrder(last))
  }, 300_000)

  it('moves the cursors of the relay when told to (settle.sql)', async () => {
    debezium = await start()
    await writeEvents()
    expect(await countPending()).toBe(written)
    const settle = await readFile(join(workspaceRoot, 'deploy/debezium/settle.sql'), 'utf8')
    await test.db.tx(
      async (tx) => {
        await tx.query(sql`select set_config('likewise.slot', ${slot}, true)`)
        await tx.execute(raw(settle))
      },
      { timeoutMs: 150_000 },
    )
    expect(await countPending()).toBe(0)
    await writeEvents()
    expect(await countPending()).toBe(written)
  }, 300_000)

  it('loses nothing that commits while it starts without its offsets', async () => {
    await debezium?.kill()
    await rm(join(home, 'debezium', 'offsets'))
    const over = new AbortController()
    const writing = (async () => {
      while (!over.signal.aborted) await writeEvents()
    })()
    debezium = await start()
    await eventually(isStreaming)
    over.abort()
    await writing
    const rows = await test.db.query<{ id: string }>(sql`select id::text as id from catalog.outbox_events`)
    const lost = async () => {
      const { first } = await readCopies()
      return rows.filter(({ id }) => !first.has(id))
    }
    await eventually(async () => (await lost()).length === 0).catch(() => undefined)
    expect(await lost()).toEqual([])
  }, 300_000)

  const written = 16

  const countPending = async () => {
    const rows = await test.db.query<{ count: number }>(
      sql`select count(*)::int as count from catalog.outbox_status where status <> 'PUBLISHED'`,
    )
    return rows[0]?.count
  }

  /** Likes and unlikes as a service enqueues them, one transaction each, and rows with times that are easily misread. */
  async function writeEvents(): Promise<void> {
    for (const [i, productId] of [...products, ...products].entries()) {
      // The spaces stay only if the bytes do.
      const payload = `{"userId": ${i + 1}, "productId": ${productId}, "createdAt": "2026-01-01T00:00:00.000001Z"}`
      const type = i < products.length ? LikeAdded : LikeRemoved
      await enqueue(test.db, {
        eventType: type.properties.type.const,
        aggregateType,
        aggregateId: productId,
        topic,
        partitionKey: productId,
        payload,
        ...(i % 2 === 0 ? { traceparent } : {}),
      })
    }
    const times = ['00.000000Z', '00.100000Z', '00.123400Z', '59.999999Z', '00.000001Z', '30.5+09:00']
    await test.db.execute(
      enqueueRows(sql`
        select catalog.outbox_shard('7'), uuidv7(), ${aggregateType}, '7', ${LikeAdded.properties.type.const}, ${topic},
               '7', '{"userId":1,"productId":7,"createdAt":"2026-01-01T00:00:00Z"}'::json, null::text, null::json, at
        from unnest(${times.map((time) => `2026-03-29T01:59:${time}`)}::timestamptz[]) as at`),
    )
  }

  async function relayAll(records: number): Promise<void> {
    const relay = await startService({
      home,
      plan: { app: 'outbox-relay', name: 'outbox-relay', port: await freePort() },
      env: {
        ...process.env,
        NODE_OPTIONS: '',
        CATALOG_DATABASE_URL: test.url,
        KAFKA_BROKERS: brokers,
        EVENT_SOURCE: source,
      },
    })
    try {
      await arrived(records)
    } finally {
      await stopService(relay)
    }
  }

  /** Of each event its first copy, which is the connector's, and its last, which is the relay's. */
  async function readCopies(): Promise<{ first: Map<string, Copy>; last: Map<string, Copy> }> {
    const [first, last] = [new Map<string, Copy>(), new Map<string, Copy>()]
    for (const { partition, key, value, headers, ...record } of await readRecords(brokers, topic)) {
      const decoded = decode({ ...record, key, value, headers })
      // A header without a value is none for the reader: the connector writes one where a row has no traceparent.
      const present = Object.entries(headers).filter(([, text]) => text !== null)
      const copy = {
        partition,
        key,
        value: String(value),
        headers: Object.fromEntries(present.map(([name, text]) => [name, String(text)])),
        decoded,
      }
      const id = copy.headers['ce_id'] ?? ''
      if (!first.has(id)) first.set(id, copy)
      last.delete(id) // so that the order is that of the last copies
      last.set(id, copy)
    }
    return { first, last }
  }

  function keyOrder(copies: Map<string, Copy>): Record<string, string[]> {
    const order: Record<string, string[]> = {}
    for (const [id, { key }] of copies) (order[key ?? ''] ??= []).push(id)
    return order
  }
})
