import { randomUUID } from 'node:crypto'
import { type Database, type Queryable, type Sql, sql } from '@likewise/database'
import type { TestDatabase } from '@likewise/database/testing'
import { type Telemetry, buildLogger, buildTelemetry, pause } from '@likewise/service'
import { enqueue } from './enqueue.ts'
import { renewLeases, takeLeases } from './lease.ts'
import type { OutboxEvent } from './page.ts'
import { type Relay, type RelayLimits, startRelay } from './relay.ts'

export const allShards = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]

const limits: RelayLimits = {
  pageRowsMax: 5,
  pageBytesMax: 100_000,
  pollMinMs: 2,
  pollMaxMs: 20,
  leaseMs: 1_500,
  backoffBaseMs: 2,
  backoffCapMs: 10,
}

export const log = buildLogger({ service: 'test', level: 'silent' })

export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  limitMs = 20_000,
): Promise<void> {
  for (const end = performance.now() + limitMs; !(await holds()); await pause(10)) {
    if (performance.now() > end) throw new Error(`Not within ${String(limitMs)} ms: ${what}`)
  }
}

export const numbered = (prefix: string, count: number, from = 0): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}${String(from + i).padStart(4, '0')}`)

type KeyOf = string | ((name: string) => string)
const firstLetter = (name: string): string => name.slice(0, 1)

const eventNamed = (name: string, keyOf: KeyOf) => {
  const key = typeof keyOf === 'string' ? keyOf : keyOf(name)
  const about = { eventType: 'test.happened.v1', aggregateType: 'product', topic: 'test' }
  return { ...about, aggregateId: key, partitionKey: key, payload: JSON.stringify({ name }) }
}

/** Enqueues an event for each name, one after the other; each in a transaction of its own unless `db` is one. */
export async function write(
  db: Queryable,
  names: readonly string[],
  keyOf: KeyOf = firstLetter,
): Promise<void> {
  for (const name of names) await enqueue(db, eventNamed(name, keyOf))
}

/** The same in one statement. */
export async function writeTogether(
  db: Queryable,
  names: readonly string[],
  keyOf: KeyOf = firstLetter,
): Promise<void> {
  await enqueue(
    db,
    names.map((name) => eventNamed(name, keyOf)),
  )
}

export const nameOf = ({ payload }: Pick<OutboxEvent, 'payload'>): string =>
  (JSON.parse(payload) as { name: string }).name

export interface StatusRow {
  name: string
  status: string
  attempts: number
  error: string | null
}

/** By seq: of all events, or of those that a condition on catalog.outbox_status names. */
export const statuses = (db: Queryable, condition: Sql = sql`true`): Promise<StatusRow[]> =>
  db.query<StatusRow>(sql`
    select payload->>'name' as name, status, retry_count as attempts, last_error as error
    from catalog.outbox_status where ${condition} order by seq`)

export const unpublished = (db: Queryable): Promise<StatusRow[]> => statuses(db, sql`status <> 'PUBLISHED'`)

export const allPublished = (db: Queryable, limitMs?: number): Promise<void> =>
  until('all are published', async () => (await unpublished(db)).length === 0, limitMs)

/** The names of what is parked, by seq. */
export async function parkedNames(db: Queryable): Promise<string[]> {
  const rows = await db.query<{ name: string }>(
    sql`select payload->>'name' as name from catalog.outbox_parked where resolved_at is null order by seq`,
  )
  return rows.map(({ name }) => name)
}

export const leaseRows = (db: Queryable): Promise<{ shard: number; owner: string | null; epoch: bigint }[]> =>
  db.query(
    sql`select shard::int as shard, owner::text as owner, epoch from catalog.outbox_leases order by shard`,
  )

/** All twelve shards for `owner`, whoever held them. */
export async function takeAllShards(
  db: Queryable,
  owner: string,
  leaseMs = 600_000,
): Promise<{ shard: number; epoch: bigint }[]> {
  await db.execute(sql`update catalog.outbox_leases set owner = null`)
  const { leases } = await renewLeases(db, owner, leaseMs)
  return takeLeases(db, owner, leases)
}

/** Another relay, alive for so long, takes shards as if their lease had run out. @returns its owner */
export async function stealShards(
  db: Queryable,
  { aliveMs, shards = allShards }: { aliveMs: number; shards?: readonly number[] },
): Promise<string> {
  const thief = randomUUID()
  await db.execute(sql`
    with thief as (
      insert into catalog.outbox_relays (owner, seen_until)
      values (${thief}::uuid, now() + ${aliveMs} * interval '1 ms') returning owner
    )
    update catalog.outbox_leases set owner = thief.owner, epoch = epoch + 1
    from thief where shard = any (${shards}::smallint[])`)
  return thief
}

/** The same database, but `around` stands between the relay and each of its statements. */
export const intercepting = (
  db: Database,
  around: <T>(statement: Sql, run: () => Promise<T>) => Promise<T>,
): Database => ({
  ...db,
  query: <T>(statement: Sql) => around(statement, () => db.query<T>(statement)),
  execute: (statement) => around(statement, () => db.execute(statement)),
})

export type Publish = (events: readonly OutboxEvent[]) => Promise<void>

export interface TestRelay extends Relay {
  /** What a metric of this relay stands at. */
  counted(metric: string): Promise<number>
}

export interface RelayChange {
  /** Stands beside each event that it sent. */
  by?: string
  /** What the broker does; without it everything is acknowledged at once. */
  publish?: Publish
  db?: Database
  leaseDb?: Database
  limits?: Partial<RelayLimits>
  source?: 'poll' | 'wal'
  slot?: string
}

/** The relays of one test, with the rights of relays: what they sent in the order of the acknowledgements, and the bugs they told. */
export function buildRelays({ as, url, slot }: Pick<TestDatabase, 'as' | 'url'> & { slot?: string }) {
  const sent: { name: string; key: string; by: string }[] = []
  const [bugs, running]: [unknown[], Set<TestRelay>] = [[], new Set()]
  const note = (events: readonly OutboxEvent[], by = 'relay') =>
    void sent.push(...events.map((event) => ({ name: nameOf(event), key: event.partitionKey, by })))
  const names = (key?: string): string[] =>
    sent.filter((event) => key === undefined || event.key === key).map(({ name }) => name)

  return {
    sent,
    bugs,
    /** For a broker that takes records and does not answer. */
    note,
    /** Of all that was sent, or of one key. */
    names,
    /** The names in the order in which each was sent for the first time. */
    firstCopies: (key?: string): string[] => [...new Set(names(key))],
    start({ by, publish, limits: change, ...rest }: RelayChange = {}): TestRelay {
      const telemetry = buildTelemetry('test')
      const relay = startRelay({
        db: as('likewise_relay'),
        url,
        ...(slot !== undefined && { slot }),
        ...rest,
        limits: { ...limits, ...change },
        log,
        telemetry,
        fail: (error) => bugs.push(error),
        publish: async (events) => {
          await publish?.(events)
          note(events, by)
        },
      })
      const test = { ...relay, counted: (metric: string) => counted(telemetry, metric) }
      running.add(test)
      return test
    },
    async stop(): Promise<void> {
      await Promise.all([...running].map((relay) => relay.stop()))
    },
  }
}

export type TestRelays = ReturnType<typeof buildRelays>

async function counted(telemetry: Telemetry, metric: string): Promise<number> {
  const line = (await telemetry.text()).split('\n').find((text) => text.startsWith(metric))
  return Number(line?.split(' ').at(-1) ?? 0)
}
