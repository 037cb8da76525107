import { type Queryable, sql } from '@likewise/database'
import { type TestDatabase, explained, freshDatabase, openTx } from '@likewise/database/testing'
import { shardOf } from '@likewise/events'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { type Ledger, isRingFull, openLedger, readHeldSince, readLedgerOf, rowsSince } from './ledger.ts'
import { purgeRing } from './purge.ts'
import { write, writeTogether } from './testing.ts'

let test: TestDatabase
beforeEach(async () => {
  test = await freshDatabase('ledger')
})
afterEach(() => test.drop())

/** Does `work` with a moment that is held open. */
const atMoment = <T>(work: (ledger: Ledger, tx: Queryable) => Promise<T>): Promise<T> =>
  test.db.tx(async (tx) => work(await openLedger(tx), tx), { isolation: 'RepeatableRead' })

const namesSince = async (ledger: Ledger): Promise<string[]> => {
  const rows = await test.db.query<{ name: string }>(sql`
    select payload->>'name' as name from ${rowsSince(ledger.snapshot)} as e order by 1`)
  return rows.map(({ name }) => name)
}

const selection = { topic: 'test', eventTypes: ['test.happened.v1'], keys: ['a'] }

describe('the outbox as of a moment', () => {
  it('tells what was committed since, also by whoever had begun before', async () => {
    await write(test.db, ['a1'])
    const early = await openTx(test.db)
    await write(early.tx, ['a2'])
    await atMoment(async (ledger) => {
      expect(await namesSince(ledger)).toEqual([])
      await write(test.db, ['a3'])
      await early.commit()
      const rolledBack = await openTx(test.db)
      await write(rolledBack.tx, ['a4'])
      await rolledBack.rollback()
      expect(await namesSince(ledger)).toEqual(['a2', 'a3'])
      const { events, snapshot } = await readLedgerOf(test.db, ledger, selection)
      expect(events.map(({ payload, committed }) => [payload, committed])).toEqual([
        ['{"name":"a1"}', true],
        ['{"name":"a2"}', false],
        ['{"name":"a3"}', false],
      ])
      const since = await readLedgerOf(test.db, ledger, { ...selection, since: ledger.snapshot })
      expect(since.events.map(({ payload }) => payload)).toEqual(['{"name":"a2"}', '{"name":"a3"}'])
      await write(test.db, ['a5', 'b6'])
      const rest = await readLedgerOf(test.db, ledger, { ...selection, since: snapshot })
      expect(rest.events.map(({ payload }) => payload)).toEqual(['{"name":"a5"}'])
      expect(events.every(({ published }) => !published)).toBe(true)
    })
  })

  it('is read on in the shards of the keys only', async () => {
    expect(shardOf('b')).not.toBe(shardOf('a'))
    await atMoment(async (ledger) => {
      await writeTogether(
        test.db,
        Array.from({ length: 500 }, (_, i) => `b${String(i)}`),
      )
      const cost = explained(test.db)
      await readLedgerOf(cost, ledger, { ...selection, since: ledger.snapshot })
      expect(cost.rowsTouched()).toBeLessThan(200)
    })
  })

  it('holds what was parked by then, and what was let go since or given up', async () => {
    await write(test.db, ['a1', 'a2', 'a3', 'a4'])
    await test.db.execute(sql`
      insert into catalog.outbox_parked (seq, id, shard, aggregate_type, aggregate_id, event_type, topic, partition_key,
        payload, created_at, reason, detail, attempts, resolved_at, resolution)
      select seq, id, shard, aggregate_type, aggregate_id, event_type, topic, partition_key, payload, created_at,
             'refused', payload->>'name', 3,
             case payload->>'name' when 'a1' then null when 'a2' then now() - interval '1 hour' else now() + interval '1 hour' end,
             case payload->>'name' when 'a1' then null when 'a4' then 'discarded' else 'redriven' end
      from catalog.outbox_events`)
    await atMoment(async (ledger) => {
      const held = await readHeldSince(test.db, ledger, { topic: 'test' })
      expect(held.map(({ detail, resolution }) => [detail, resolution])).toEqual([
        ['a1', null],
        ['a3', 'redriven'],
        ['a4', 'discarded'],
      ])
      expect(await readHeldSince(test.db, ledger, { topic: 'test', keys: ['b'] })).toEqual([])
      expect(await readHeldSince(test.db, ledger, { topic: 'another' })).toEqual([])
    })
  })

  it('keeps its rows: a purge leaves them until it is over', async () => {
    await test.db.execute(sql`
      insert into catalog.outbox_events (shard, slot, aggregate_type, aggregate_id, event_type, topic, partition_key, payload,
        created_at)
      select 0, ((floor(extract(epoch from now()) / 86400)::bigint + 1) % 10)::smallint, 'x', 'x', 'x', 'test', 'a', '{}',
             now() - interval '9 days'`)
    await test.db.execute(sql`
      insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, last_seq, after_seq, epoch)
      select 0, 1, pg_current_snapshot(), pg_current_snapshot(), 0, 0, 0`)
    expect(await isRingFull(test.db)).toBe(true)
    const purge = () => {
      const stopping = new AbortController()
      const onBusy = (): void => stopping.abort()
      return purgeRing(test.db, { retentionDays: 7, actor: 'test', stopping: stopping.signal, onBusy })
    }
    await atMoment(async (_ledger, tx) => {
      expect(await purge()).toEqual([])
      expect(await tx.query(sql`select 1 as there from catalog.outbox_events`)).toHaveLength(1)
    })
    expect(await purge()).toHaveLength(1)
    expect(await isRingFull(test.db)).toBe(false)
  })
})
