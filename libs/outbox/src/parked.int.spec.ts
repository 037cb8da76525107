import { Writable } from 'node:stream'
import { sql } from '@likewise/database'
import { type TestDatabase, explained, freshDatabase } from '@likewise/database/testing'
import { shardOf } from '@likewise/events'
import { Failure, buildLogger, buildTelemetry, pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { enqueue } from './enqueue.ts'
import { readHeldBack, readKeysToMove, readMarkedShards } from './parked.ts'
import { purgeRing } from './purge.ts'
import { startRelay } from './relay.ts'
import { recover } from './rewind.ts'

const dayMs = 86_400_000
const actor = 'test'
const shards = Array.from({ length: 12 }, (_, shard) => shard)
let test: TestDatabase

beforeEach(async () => {
  test = await freshDatabase('parked')
})
afterEach(() => test.drop())

interface Parked {
  key: string
  reason?: 'refused' | 'behind'
  mark?: 'redrive' | 'discard'
  resolution?: 'redriven' | 'discarded'
}

const about = { eventType: 'test.happened.v1', aggregateType: 'product', aggregateId: '1', topic: 'test' }
const write = (keys: readonly string[]): Promise<string[]> =>
  enqueue(test.db, keys.map((partitionKey) => ({ ...about, partitionKey, payload: '{}' }))) // prettier-ignore

/** Parks what lies in the ring, as told for each of its rows. */
async function park(rows: readonly Parked[]): Promise<void> {
  await write(rows.map(({ key }) => key))
  await test.db.execute(sql`
    insert into catalog.outbox_parked (seq, id, shard, aggregate_type, aggregate_id, event_type, topic, partition_key,
                                       payload, created_at, reason, detail, attempts, mark, resolution, resolved_at)
    select seq, id, shard, aggregate_type, aggregate_id, event_type, topic, partition_key, payload, created_at,
           told.reason, 'too large', 3, told.mark, told.resolution, case when told.resolution is not null then now() end
    from (select *, row_number() over (order by seq) as place from catalog.outbox_events) as e
    join unnest(${rows.map(({ reason }) => reason ?? 'refused')}::text[], ${rows.map(({ mark }) => mark ?? null)}::text[],
                ${rows.map(({ resolution }) => resolution ?? null)}::text[]) with ordinality
      as told(reason, mark, resolution, place) using (place)`)
}

const tail = (key: string, count: number): Parked[] =>
  Array.from({ length: count }, (_, i) => ({ key, reason: i === 0 ? 'refused' : 'behind' }))

describe('what is held back', () => {
  it('costs as much as there are keys parked, however long their tails', async () => {
    await park([...tail('b', 3_000), ...tail('c', 3_000), { key: 'd', resolution: 'redriven' }])
    await test.db.execute(sql`analyze catalog.outbox_parked`)
    const db = explained(test.db)
    const heldBack = await readHeldBack(db, shards)
    expect([...heldBack.keys].sort()).toEqual(['b', 'c'])
    expect(heldBack.discarded.size).toBe(0)
    expect(await readKeysToMove(db, shardOf('b'))).toEqual([])
    expect(db.rowsTouched()).toBeLessThan(300)
  })

  it('names what was discarded of the window that is published, and need not read the rest', async () => {
    const discarded = Array.from({ length: 3_000 }, () => ({ key: 'b', resolution: 'discarded' as const }))
    await park(discarded)
    await test.db.execute(sql`analyze catalog.outbox_parked`)
    const db = explained(test.db)
    const heldBack = await readHeldBack(db, [shardOf('b')], { afterSeq: 100n, lastSeq: 103n })
    expect([...heldBack.discarded].sort()).toEqual(['101', '102', '103'])
    expect(db.rowsTouched()).toBeLessThan(100)
    expect((await readHeldBack(test.db, shards)).discarded.size).toBe(3_000)
  })
})

describe('a shard with marked events', () => {
  const marked = async (): Promise<number[]> => readMarkedShards(test.db, shards)

  it('is looked at while one of them can move: the head of its key, or one that is given up', async () => {
    await park([
      { key: 'b', mark: 'redrive' },
      { key: 'b', reason: 'behind' },
    ])
    expect(await marked()).toEqual([shardOf('b')])
    await test.db.execute(sql`update catalog.outbox_parked set mark = null`)
    expect(await marked()).toEqual([])
    await test.db.execute(sql`update catalog.outbox_parked set mark = 'discard' where reason = 'behind'`)
    expect(await marked()).toEqual([shardOf('b')])
  })

  it('is left alone while they wait behind a refused event that nobody has marked', async () => {
    await park([{ key: 'b' }, { key: 'b', mark: 'redrive' }, { key: 'b', reason: 'behind' }])
    expect(await marked()).toEqual([])
    await test.db.execute(sql`update catalog.outbox_parked set mark = 'redrive' where seq = 1`)
    expect(await marked()).toEqual([shardOf('b')])
  })
})

describe('a parked event that is resolved', () => {
  const left = async (): Promise<string[]> => {
    const rows = await test.db.query<{ key: string }>(
      sql`select partition_key as key from catalog.outbox_parked order by seq`,
    )
    return rows.map(({ key }) => key)
  }

  it('stays while a republish could meet it, and goes once its slot of the ring was emptied', async () => {
    const rows: Parked[] = [
      { key: 'discarded', resolution: 'discarded' },
      { key: 'redriven', resolution: 'redriven' },
      { key: 'waiting' },
    ]
    await park(rows)
    await test.db.execute(sql`
      insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, last_seq, after_seq, epoch)
      select shard, 1, pg_current_snapshot(), pg_current_snapshot(), 0, 0, 0 from generate_series(0, 11) as shard`)
    expect(await purgeRing(test.as('likewise_relay'), { retentionDays: 3, actor })).toEqual([])
    expect(await left()).toEqual(['discarded', 'redriven', 'waiting'])
    const later = new Date(Date.now() + 5 * dayMs)
    expect(await purgeRing(test.as('likewise_relay'), { retentionDays: 3, actor, now: later })).toHaveLength(
      1,
    )
    expect(await left()).toEqual(['waiting'])
    expect(await test.db.query(sql`select action, detail from catalog.outbox_audit order by id desc limit 1`)).toEqual([
      { action: 'purge', detail: '2 resolved events of outbox_parked' },
    ]) // prettier-ignore
  })
})

describe('recover', () => {
  it('draws no number again that only a parked event has, its row being gone from the ring', async () => {
    await park([{ key: 'b' }])
    await test.db.execute(sql`truncate catalog.outbox_events`)
    // As logical replication leaves it: rows, and a sequence that has not moved.
    await test.db.execute(sql`update catalog.outbox_parked set seq = 500`)
    await recover(test.db, { actor })
    await write(['a'])
    const [{ seq } = { seq: 0n }] = await test.db.query<{ seq: bigint }>(
      sql`select max(seq) as seq from catalog.outbox_events`,
    )
    expect(seq).toBeGreaterThan(500n)
  })
})

describe('the log of a relay', () => {
  it('has one line for a refused event, and one a page for the tail of its key', async () => {
    const lines: Record<string, unknown>[] = []
    const logTo = new Writable({
      write(line, _, done) {
        lines.push(JSON.parse(String(line)) as Record<string, unknown>)
        done()
      },
    })
    await write([...Array.from({ length: 100 }, () => 'b'), 'a'])
    const telemetry = buildTelemetry('test')
    const relay = startRelay({
      db: test.db,
      url: test.url,
      limits: {
        pageRowsMax: 50,
        pageBytesMax: 100_000,
        pollMinMs: 2,
        pollMaxMs: 20,
        leaseMs: 1_500,
        backoffBaseMs: 1,
        backoffCapMs: 2,
      },
      log: buildLogger({ service: 'test', level: 'warn' }, logTo),
      telemetry,
      publish: async (events) => {
        if (events.some(({ partitionKey }) => partitionKey === 'b'))
          throw new Failure('EVENT_REFUSED', 'Too large.')
      },
      fail: (error) => {
        throw error
      },
    })
    const parked = sql`select 1 from catalog.outbox_parked`
    for (const end = performance.now() + 15_000; (await test.db.query(parked)).length < 100; await pause(20))
      expect(performance.now()).toBeLessThan(end)
    await relay.stop()
    expect(lines.filter(({ msg }) => msg === 'event parked')).toMatchObject([
      { seq: '1', key: 'b', reason: 'refused', detail: 'Too large.' },
    ])
    const behind = lines.filter(({ msg }) => msg === 'events parked behind it')
    expect(behind.length).toBeLessThan(10)
    expect(behind.reduce((sum, { events }) => sum + Number(events), 0)).toBe(99)
    expect(behind[0]).toMatchObject({ key: 'b', shard: shardOf('b') })
    expect(await telemetry.text()).toContain('likewise_outbox_parked_total{reason="behind"} 99')
  }, 30_000)
})
