import { sql } from '@likewise/database'
import { openTx } from '@likewise/database/testing'
import { pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { enqueue } from '../enqueue.ts'
import { type OutboxEvent, readPage } from '../page.ts'
import { nameOf, numbered, takeAllShards, until, write, writeTogether } from '../testing.ts'
import { type Window, nextWindows } from '../window.ts'
import { readWalHealth } from './slot.ts'
import type { WalStream } from './stream.ts'
import { type WalTest, disabled, enabled, never, publishAll, readEvents, walDatabase } from './testing.ts'

const limits = { pageRowsMax: 1_000, pageBytesMax: 50_000_000 }
let test: WalTest
let streams: WalStream[]

beforeAll(async () => {
  test = await walDatabase('wal_stream')
  await test.db.execute(
    sql`create table public.elsewhere (id bigint generated always as identity, filler text)`,
  )
})
afterAll(() => test.drop())
beforeEach(async () => {
  streams = []
  await enabled(test)
})
afterEach(async () => {
  await Promise.all(streams.map((stream) => stream.stop()))
  await disabled(test)
})

async function open(options: Parameters<WalTest['open']>[0] = {}): Promise<WalStream> {
  const stream = await test.open(options)
  streams.push(stream)
  return stream
}

const bySeq = (a: OutboxEvent, b: OutboxEvent): number => Number(BigInt(a.seq) - BigInt(b.seq))

describe('an event from the WAL', () => {
  it('is the same in every field as from a page', async () => {
    const owner = '00000000-0000-4000-8000-000000000001'
    await publishAll(test)
    const payloads = [
      '{"a":1}',
      '{ "b" : [1,\n2] }',
      '"é€😀\\u0000\\n"',
      JSON.stringify({ big: 'x'.repeat(300_000) }),
    ]
    await enqueue(
      test.db,
      payloads.map((payload, i) => ({
        eventType: 'test.happened.v1',
        aggregateType: 'product',
        aggregateId: `a€${i}`,
        topic: 'test',
        partitionKey: `k'"\\${i}`,
        payload,
        ...(i % 2 === 0 && { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' }),
        ...(i > 1 && { headers: { one: '1', 'two ': 'zwei €' } }),
      })),
    )
    const times = [
      '2026-01-02 03:04:05.1+00',
      '2026-01-02 03:04:05+00',
      '1999-12-31 23:59:59.000001-07',
      '0800-01-01',
    ]
    for (const time of times) {
      await test.db.execute(sql`
        insert into catalog.outbox_events (shard, aggregate_type, aggregate_id, event_type, topic, partition_key,
                                           payload, created_at)
        values (3, 'product', '1', 'test.happened.v1', 'test', '1', '{}', ${time}::timestamptz)`)
    }
    // Of incompressible values, so that they are really stored out of line.
    await test.db.execute(sql`
      insert into catalog.outbox_events (shard, aggregate_type, aggregate_id, event_type, topic, partition_key, payload)
      select 5, 'product', '1', 'test.happened.v1', 'test', '1',
             to_json((select string_agg(md5(n::text || random()::text), '') from generate_series(1, 20000) as n))`)

    const read = await readEvents(await open(), 9)
    const leases = await takeAllShards(test.db, owner)
    const windows: Window[] = await nextWindows(test.as('likewise_relay'), owner, leases)
    const paged = (
      await Promise.all(windows.map((w) => readPage(test.as('likewise_relay'), w, w.afterSeq, limits)))
    ).flat()
    expect(paged).toHaveLength(9)
    expect([...read].sort(bySeq)).toEqual(paged.sort(bySeq))
    expect(Math.max(...read.map(({ payload }) => payload.length))).toBeGreaterThan(600_000)
  })

  it('needs no row: the stream has all of it', async () => {
    await write(test.db, ['gone'])
    await test.db.execute(sql`truncate catalog.outbox_events`)
    expect((await readEvents(await open(), 1)).map(nameOf)).toEqual(['gone'])
  })

  it('never comes from a transaction or savepoint that was rolled back', async () => {
    const aborted = await openTx(test.db)
    await write(aborted.tx, ['aborted'])
    await test.db.tx(async (tx) => {
      await write(tx, ['kept'])
      await tx.execute(sql`savepoint half`)
      await write(tx, ['undone'])
      await tx.execute(sql`rollback to savepoint half`)
    })
    await aborted.rollback()
    await write(test.db, ['after'])
    expect((await readEvents(await open(), 2)).map(nameOf)).toEqual(['kept', 'after'])
  })
})

describe('the order', () => {
  it('is that of the commits, not of seq, xid or the first write', async () => {
    const stream = await open()
    const [first, second, third] = [await openTx(test.db), await openTx(test.db), await openTx(test.db)]
    await write(first.tx, ['first-1'])
    await write(second.tx, ['second-1'])
    await write(third.tx, ['third-1'])
    await write(first.tx, ['first-2'])
    await second.commit()
    await third.commit()
    await write(test.db, ['alone'])
    await first.commit()
    const names = (await readEvents(stream, 5)).map(nameOf)
    expect(names).toEqual(['second-1', 'third-1', 'alone', 'first-1', 'first-2'])
  })
})

describe('confirming', () => {
  it('begins again behind what was confirmed, and repeats what was not', async () => {
    for (const name of ['a', 'b', 'c', 'd']) await write(test.db, [name])
    const reader = await open()
    const first = await reader.read({ rowsMax: 2, bytesMax: 1_000_000 }, never)
    await until('all have arrived', () => reader.waiting().rows === 2 || first!.events.length < 2)
    reader.confirm(first!.lsn)
    const confirmed = first!.events.length
    await reader.stop()
    const again = await readEvents(await open(), 4 - confirmed)
    expect(again.map(nameOf)).toEqual(['a', 'b', 'c', 'd'].slice(confirmed))
  })

  it('repeats a whole transaction when its end was not reached', async () => {
    await write(test.db, ['before'])
    await test.db.tx((tx) => writeTogether(tx, numbered('whole-', 50)))
    const reader = await open()
    const events: OutboxEvent[] = []
    let lsn = 0n
    while (events.length < 30) {
      const batch = await reader.read({ rowsMax: 10, bytesMax: 1_000_000 }, never)
      events.push(...batch!.events)
      lsn = batch!.lsn
    }
    reader.confirm(lsn)
    await reader.stop()
    expect((await readEvents(await open(), 50)).map(nameOf)).toEqual(numbered('whole-', 50))
  })

  it('goes on while other tables write and the outbox is idle, so that their WAL is not kept', async () => {
    const stream = await open()
    const before = await readWalHealth(test.db, test.slot)
    let lsn = 0n
    const stopping = new AbortController()
    const following = (async () => {
      for (;;) {
        const batch = await stream.read({ rowsMax: 1, bytesMax: 1 }, stopping.signal)
        if (!batch) return
        stream.confirm((lsn = batch.lsn))
      }
    })()
    await until('the slot lets go of the WAL', async () => {
      await test.db.execute(
        sql`insert into public.elsewhere (filler) select repeat('x', 1000) from generate_series(1, 2000)`,
      )
      await test.db.execute(sql`checkpoint`) // logs the running transactions, from which restart_lsn is found
      const { slot } = await readWalHealth(test.db, test.slot)
      return lsn - before.slot!.confirmedFlushLsn! > 20_000_000n && slot!.keptBytes! < 15_000_000
    })
    stopping.abort()
    await following
  })
})

describe('memory', () => {
  it('stays bounded in a transaction of many rows while nobody reads', async () => {
    const rows = 60_000
    const filler = 'f'.repeat(2_000)
    await test.db.execute(sql`
      insert into catalog.outbox_events (shard, aggregate_type, aggregate_id, event_type, topic, partition_key, payload)
      select n % 12, 'product', '1', 'test.happened.v1', 'test', n::text,
             json_build_object('name', n, 'filler', ${filler}::text)
      from generate_series(1, ${rows}::int) as n`)
    const stream = await open({ waitingBytesMax: 1_000_000 })
    await until('the first rows wait', () => stream.waiting().bytes > 1_000_000)
    await pause(1_500)
    expect(stream.waiting().bytes).toBeLessThan(1_500_000)
    let [count, most] = [0, 0]
    while (count < rows) {
      const batch = await stream.read({ rowsMax: 500, bytesMax: 1_000_000 }, never)
      count += batch!.events.length
      most = Math.max(most, stream.waiting().bytes)
      if (count < rows)
        expect(batch!.lsn).toBeLessThan(
          (await readWalHealth(test.db, test.slot)).slot!.confirmedFlushLsn! + 1n,
        )
      if (count % 20_000 < 500) await pause(50)
    }
    expect(count).toBe(rows)
    expect(most).toBeLessThan(1_500_000)
  })
})

describe('one slot', () => {
  it('is read by one stream at a time, and free again as soon as that one is gone', async () => {
    const first = await open()
    await expect(open()).rejects.toMatchObject({ details: { sqlstate: '55006' } })
    await first.stop()
    await write(test.db, ['next'])
    const second = await open()
    expect((await readEvents(second, 1)).map(nameOf)).toEqual(['next'])
  })

  it('ends its stream with a Failure that may be tried again when the connection breaks', async () => {
    const stream = await open()
    const reading = async () => {
      for (;;) await stream.read({ rowsMax: 1, bytesMax: 1 }, never)
    }
    const ended = expect(reading()).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' })
    const { slot } = await readWalHealth(test.db, test.slot)
    await test.db.query(sql`select pg_terminate_backend(${slot!.activePid}::int)`)
    await ended
  })
})
