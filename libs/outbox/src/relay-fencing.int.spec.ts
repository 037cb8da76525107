import { randomUUID } from 'node:crypto'
import { type Database, type Sql, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { shardOf } from '@likewise/events'
import { Failure, type Telemetry, buildLogger, buildTelemetry, pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { enqueue } from './enqueue.ts'
import type { OutboxEvent } from './page.ts'
import { type Relay, type RelayLimits, startRelay } from './relay.ts'

const limits: RelayLimits = {
  pageRowsMax: 5,
  pageBytesMax: 100_000,
  pollMinMs: 2,
  pollMaxMs: 20,
  leaseMs: 3_000,
  backoffBaseMs: 2,
  backoffCapMs: 10,
}
const log = buildLogger({ service: 'test', level: 'silent' })
const brokerAway = () => new Failure('BROKER_UNAVAILABLE', 'Kafka does not take records: nobody listens.')
const databaseAway = () => new Failure('DATABASE_UNAVAILABLE', 'PostgreSQL is not available: cut.')

let test: TestDatabase
let sent: string[]
let bugs: unknown[]
let telemetry: Telemetry
let relay: Relay | undefined

beforeEach(async () => {
  test = await freshDatabase('relay_fencing')
  sent = []
  bugs = []
})
afterEach(async () => {
  await relay?.stop()
  relay = undefined
  await test.drop()
})

type Publish = (events: readonly OutboxEvent[]) => Promise<void>

function start(publish: Publish = taken, db: Database = test.db, leaseMs = limits.leaseMs): void {
  const note: Publish = async (events) => {
    await publish(events)
    sent.push(...events.map(({ payload }) => (JSON.parse(payload) as { name: string }).name))
  }
  telemetry = buildTelemetry('test')
  relay = startRelay({
    db,
    url: test.url,
    limits: { ...limits, leaseMs },
    log,
    telemetry,
    publish: note,
    fail: (error) => bugs.push(error),
  })
}

const taken: Publish = async () => {}

async function write(names: readonly string[], key = '100'): Promise<void> {
  for (const name of names) {
    const payload = JSON.stringify({ name })
    const about = { eventType: 'test.happened.v1', aggregateType: 'product', aggregateId: key, topic: 'test' }
    await enqueue(test.db, { ...about, partitionKey: key, payload })
  }
}

const numbered = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}${String(i).padStart(4, '0')}`)

async function until(what: string, holds: () => boolean | Promise<boolean>, limitMs = 15_000): Promise<void> {
  for (const end = performance.now() + limitMs; !(await holds()); await pause(10)) {
    if (performance.now() > end) throw new Error(`Not within ${String(limitMs)} ms: ${what}`)
  }
}

interface StatusRow {
  name: string
  status: string
  attempts: number
  error: string | null
}

const statuses = (): Promise<StatusRow[]> =>
  test.db.query<StatusRow>(sql`
    select payload->>'name' as name, status, retry_count as attempts, last_error as error
    from catalog.outbox_status where status <> 'PUBLISHED' order by seq`)

const allPublished = () => until('all are published', async () => (await statuses()).length === 0)
const firstCopies = (): string[] => [...new Set(sent)]

async function counted(metric: string): Promise<number> {
  const line = (await telemetry.text()).split('\n').find((text) => text.startsWith(metric))
  return Number(line?.split(' ').at(-1) ?? 0)
}

describe('a relay whose lease was stolen', () => {
  it('settles nothing, and counts the write that was fenced off', async () => {
    const [thief, shard] = [randomUUID(), shardOf('100')]
    const cursor = () =>
      test.db
        .query(sql`select n, after_seq, owner::text from catalog.outbox_cursors where shard = ${shard}::smallint
        order by n desc limit 1`)
    let before: unknown
    let stolen = false
    start(async () => {
      if (stolen) return
      await test.db.execute(sql`
        update catalog.outbox_leases set owner = ${thief}::uuid, epoch = epoch + 1, lease_until = now() + interval '20 s'`)
      before = await cursor()
      stolen = true
    })
    await write(numbered('stolen-', 7))
    await until(
      'a write is fenced off',
      async () => (await counted('likewise_outbox_fenced_writes_total')) > 0,
    )
    expect(await counted('likewise_outbox_fenced_writes_total')).toBe(1)
    expect(await cursor()).toEqual(before)
    expect(await statuses()).toHaveLength(7)
    await until('it knows that it holds nothing', () => relay?.shards().length === 0)
    expect(bugs).toEqual([])

    await relay?.stop()
    await test.db.execute(sql`update catalog.outbox_leases set owner = null where owner = ${thief}::uuid`)
    start()
    await allPublished()
    expect(firstCopies()).toEqual(numbered('stolen-', 7))
  })

  it('records no attempt on the new owner’s cursor either', async () => {
    await write(numbered('failing-', 2))
    start(async () => {
      await test.db.execute(sql`
        update catalog.outbox_leases set owner = ${randomUUID()}::uuid, epoch = epoch + 1, lease_until = now() + interval '20 s'`)
      throw brokerAway()
    })
    await until(
      'a write is fenced off',
      async () => (await counted('likewise_outbox_fenced_writes_total')) > 0,
    )
    expect((await statuses()).map(({ status, attempts }) => [status, attempts])).toEqual([
      ['PENDING', 0],
      ['PENDING', 0],
    ])
  })
})

describe('a relay whose lease ran out', () => {
  it('sends no further page, though it could still settle one, until it has renewed', async () => {
    let renews = true
    let pages = 0
    const db: Database = {
      ...test.db,
      query: async <T>(statement: Sql) => {
        if (!renews && statement.sql.includes('outbox_relays')) throw databaseAway()
        return test.db.query<T>(statement)
      },
    }
    const names = numbered('late-', 12)
    await write(names)
    const leaseMs = 400
    start(
      async () => {
        pages += 1
        if (pages > 1) return
        renews = false
        await pause(leaseMs * 2)
      },
      db,
      leaseMs,
    )
    await until('its first page is settled', async () => (await statuses()).length === 7)
    await pause(leaseMs)
    expect(pages).toBe(1)
    expect(relay?.shards()).toEqual([])
    renews = true
    await allPublished()
    expect(sent).toEqual(names)
    expect(bugs).toEqual([])
  })
})
