import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { buildLogger, buildTelemetry, pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { enqueue } from './enqueue.ts'
import { checkIdentity } from './identity.ts'
import type { OutboxEvent } from './page.ts'
import { type Relay, startRelay } from './relay.ts'
import { recover, republish } from './rewind.ts'

const limits = {
  pageRowsMax: 5,
  pageBytesMax: 100_000,
  pollMinMs: 2,
  pollMaxMs: 20,
  leaseMs: 900,
  backoffBaseMs: 2,
  backoffCapMs: 10,
}
const actor = 'somebody@test'
let test: TestDatabase
let relay: Relay | undefined
let sent: string[]
let bugs: unknown[]

beforeEach(async () => {
  test = await freshDatabase('rewind')
  sent = []
  bugs = []
})
afterEach(async () => {
  await relay?.stop()
  relay = undefined
  expect(bugs).toEqual([])
  await test.drop()
})

function start(): Relay {
  relay = startRelay({
    db: test.db,
    url: test.url,
    limits,
    log: buildLogger({ service: 'test', level: 'silent' }),
    telemetry: buildTelemetry('test'),
    fail: (error) => bugs.push(error),
    publish: async (events: readonly OutboxEvent[]) =>
      void sent.push(...events.map(({ payload }) => (JSON.parse(payload) as { name: string }).name)),
  })
  return relay
}

async function write(names: readonly string[]): Promise<void> {
  const about = { eventType: 'test.happened.v1', aggregateType: 'product', topic: 'test' }
  for (const name of names) {
    const key = name.slice(0, 1)
    await enqueue(test.db, {
      ...about,
      aggregateId: key,
      partitionKey: key,
      payload: JSON.stringify({ name }),
    })
  }
}
const numbered = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}${String(i).padStart(3, '0')}`)

async function until(what: string, holds: () => boolean | Promise<boolean>, limitMs = 15_000): Promise<void> {
  for (const end = performance.now() + limitMs; !(await holds()); await pause(10)) {
    if (performance.now() > end) throw new Error(`Not within ${String(limitMs)} ms: ${what}`)
  }
}
const allPublished = () =>
  until('all are published', async () => {
    const waiting = sql`select 1 from catalog.outbox_status where status <> 'PUBLISHED' limit 1`
    return (await test.db.query(waiting)).length === 0
  })
const ofKey = (key: string): string[] => sent.filter((name) => name.startsWith(key))

/** As if the outbox had been dumped in a cluster that was far ahead of this one, and restored here. */
async function restoreFromFarAhead(): Promise<void> {
  const far = sql`(xid::text::bigint + 1000000000)::text::xid8`
  await test.db.execute(sql`update catalog.outbox_events set xid = ${far}`)
  await test.db.execute(sql`
    update catalog.outbox_cursors set
      from_snapshot = format('%1$s:%1$s:', pg_snapshot_xmax(from_snapshot)::text::bigint + 1000000000)::pg_snapshot,
      to_snapshot = format('%1$s:%1$s:', pg_snapshot_xmax(to_snapshot)::text::bigint + 1000000000)::pg_snapshot
    where n > 0`)
  await test.db.execute(sql`update catalog.outbox_meta set system_identifier = '7000000000000000001'`)
}

describe('republish', () => {
  it('sends again what was written since a time, in order, while relays run and new events come', async () => {
    const names = [...numbered('a', 30), ...numbered('b', 30)]
    await write(names.slice(0, 20))
    start()
    await allPublished()
    await pause(20)
    const since = new Date()
    await write(names.slice(20))
    await allPublished()
    expect(sent).toHaveLength(60)
    sent = []
    expect(await republish(test.db, { since, actor, dryRun: true })).toMatchObject({ events: 40 })
    expect(await republish(test.db, { since, actor })).toMatchObject({ events: 40 })
    await write(['a999'])
    await until('the last one', () => sent.includes('a999'))
    await allPublished()
    expect(ofKey('a')).toEqual([...names.slice(20, 30), 'a999'])
    expect(ofKey('b')).toEqual(names.slice(30))
    expect(await test.db.query(sql`select actor, action from catalog.outbox_audit`)).toEqual([
      { actor, action: 'republish' },
    ])
  })

  it('passes over nothing that was not published yet, however old it is (I1)', async () => {
    await write(numbered('a', 12))
    expect(await republish(test.db, { since: new Date(Date.now() + 60_000), actor })).toMatchObject({
      events: 12,
    })
    start()
    await allPublished()
    expect(sent).toEqual(numbered('a', 12))
  })
})

describe('an outbox that was restored into another cluster', () => {
  it('is refused with the command that mends it, and goes on after that with overlap, not loss (I1)', async () => {
    await write(numbered('a', 10))
    start()
    await allPublished()
    await relay?.stop()
    await write(numbered('c', 5)) // written before the dump, never published
    await restoreFromFarAhead()
    await write(numbered('b', 10)) // written after it: under the cursors as they are, published long ago
    const restarted = start()
    await until('it is refused', () => restarted.fault() !== null)
    expect(restarted.fault()?.message).toMatch(
      /does not belong to this PostgreSQL cluster.*likewise outbox recover/,
    )
    expect(restarted.shards()).toEqual([])
    sent = []
    await pause(500)
    expect(sent).toEqual([])

    await recover(test.db, { actor })
    await until('all come', () => new Set(sent).size === 25)
    expect(restarted.fault()).toBeNull()
    await allPublished()
    expect(ofKey('b')).toEqual(numbered('b', 10))
    expect(ofKey('c')).toEqual(numbered('c', 5))
    await write(['b900'])
    await until('new ones flow', () => sent.includes('b900'))
  })

  it('loses nothing with a time either: what was not published goes out, however old', async () => {
    await write(numbered('a', 10))
    start()
    await allPublished()
    await relay?.stop()
    await write(numbered('c', 5))
    await restoreFromFarAhead()
    await pause(5)
    const since = new Date()
    await write(numbered('b', 10))
    sent = []
    await recover(test.db, { actor, since })
    start()
    await until('all come', () => new Set([...ofKey('b'), ...ofKey('c')]).size === 15)
    expect(ofKey('b')).toEqual(numbered('b', 10))
    expect(ofKey('c')).toEqual(numbered('c', 5))
  })

  it('opens no window while its transaction ids are behind the cursors, even before that is noticed', async () => {
    await checkIdentity(test.db)
    await write(['a1'])
    start()
    await allPublished()
    await relay?.stop()
    relay = undefined
    await restoreFromFarAhead()
    await test.db.execute(sql`
      update catalog.outbox_meta set system_identifier = (select system_identifier::text from pg_control_system())`)
    await expect(checkIdentity(test.db)).rejects.toMatchObject({
      code: 'OUTBOX_MISMATCH',
      message: expect.stringContaining('its transaction ids have not got as far') as unknown,
    })
  })

  it('is told from a promoted standby, which goes on by itself', async () => {
    expect(await checkIdentity(test.db)).toEqual({ leftTimeline: null })
    await test.db.execute(sql`update catalog.outbox_meta set timeline = 41`)
    expect(await checkIdentity(test.db)).toEqual({ leftTimeline: 41 })
    expect(await checkIdentity(test.db)).toEqual({ leftTimeline: null })
  })
})

describe('recover with a time', () => {
  it('takes no row for published that only looks as if it lay inside a finished window (I1)', async () => {
    await write(['a1'])
    const seen = sql`format('%1$s:%1$s:', pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1000000)::pg_snapshot`
    // Published in the old cluster, whose transaction ids were ahead of this one's.
    await test.db.execute(sql`
      insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, last_seq, after_seq, epoch)
      select shard, 1, '1:1:', ${seen}, 1, 1, 0 from catalog.outbox_cursors where n = 0`)
    await write(['a2'])
    const since = new Date(Date.now() + 60_000)
    expect(await recover(test.db, { actor, since })).toMatchObject({ events: 1 })
  })
})
