import { randomUUID } from 'node:crypto'
import { type Queryable, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx, readWaiting } from '@likewise/database/testing'
import { shardCount, shardOf } from '@likewise/events'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { type OutboxEvent, readPage } from './page.ts'
import { nameOf, statuses as statusRows, takeAllShards, until, write as writeNamed } from './testing.ts'
import { recordAttempt, settle } from './step.ts'
import { type OpenedWindow, type Window, isDone, nextWindows } from './window.ts'

const key = '100'
const shard = shardOf(key)
const owner = randomUUID()
const limits = { pageRowsMax: 1_000, pageBytesMax: 1_000_000 }
let test: TestDatabase
let epoch: bigint

beforeAll(async () => {
  test = await freshDatabase('outbox')
  const taken = await takeAllShards(test.db, owner)
  expect(taken).toHaveLength(shardCount)
  epoch = taken[shard]?.epoch ?? 0n
})
afterAll(() => test.drop())
beforeEach(() => drain())

/** Enqueues one event that carries `name`. */
const write = (tx: Queryable, name: string): Promise<void> => writeNamed(tx, [name], key)
const namesOf = (events: readonly OutboxEvent[]): string[] => events.map(nameOf)

async function open(): Promise<OpenedWindow | null> {
  const small = { rowsMax: limits.pageRowsMax, bytesMax: limits.pageBytesMax }
  return (await nextWindows(test.as('likewise_relay'), owner, [{ shard, epoch }], small))[0] ?? null
}

/**
 * Relays everything that is visible now. What a small window brings along must be what its pages hold, whatever the test has
 * made of it. @returns the names in the order they would reach the broker. */
async function drain(pageRowsMax = limits.pageRowsMax): Promise<string[]> {
  const names: string[] = []
  for (;;) {
    const opened = await open()
    if (!opened) return names
    const events: OutboxEvent[] = []
    let window: Window | null = opened
    while (window && !isDone(window)) {
      const page = await readPage(test.as('likewise_relay'), window, window.afterSeq, {
        ...limits,
        pageRowsMax,
      })
      events.push(...page)
      window = await settle(test.as('likewise_relay'), { owner, epoch }, window, {
        afterSeq: BigInt(page.at(-1)?.seq ?? 0),
      })
      expect(window).not.toBeNull()
    }
    const isSmall = opened.rowCount <= BigInt(limits.pageRowsMax) && opened.fromSnapshot !== '1:1:'
    expect(opened.events).toEqual(isSmall ? events : null)
    names.push(...namesOf(events))
  }
}

describe('which rows a window holds, and in which order', () => {
  it('relays every committed event once, in the order of its key', async () => {
    for (const name of ['a', 'b', 'c']) await write(test.db, name)
    expect(await drain()).toEqual(['a', 'b', 'c'])
    expect(await drain()).toEqual([])
  })

  it('keeps the order of a key when the transaction with the older xid writes last', async () => {
    const older = await openTx(test.db)
    await older.tx.query(sql`select pg_current_xact_id()::text`)
    await write(test.db, 'first')
    await write(older.tx, 'second')
    await older.commit()
    expect(await drain()).toEqual(['first', 'second'])
  })

  it('relays a row whose seq was drawn before its transaction had an xid', async () => {
    const late = await openTx(test.db)
    const [drawn] = await late.tx.query<{ seq: bigint }>(
      sql`select nextval(pg_get_serial_sequence('catalog.outbox_events', 'seq')) as seq`,
    )
    await write(test.db, 'committed before')
    expect(await drain()).toEqual(['committed before'])
    await late.tx.execute(sql`
      insert into catalog.outbox_events (shard, seq, aggregate_type, aggregate_id, event_type, topic, partition_key, payload)
      overriding system value
      values (${shard}, ${drawn?.seq}, 'product', ${key}, 'test.happened.v1', 'test', ${key}, '{"name":"drawn before"}')`)
    await late.commit()
    expect(await drain()).toEqual(['drawn before'])
  })

  it('relays a row that commits after later rows were relayed', async () => {
    const slow = await openTx(test.db)
    await write(slow.tx, 'slow')
    await write(test.db, 'fast')
    expect(await drain()).toEqual(['fast'])
    await slow.commit()
    expect(await drain()).toEqual(['slow'])
  })

  it('is not held up by a writer that stays open in this database', async () => {
    const writer = await openTx(test.db)
    await write(writer.tx, 'open')
    await write(test.db, 'goes through')
    expect(await drain()).toEqual(['goes through'])
    await writer.rollback()
    expect(await drain()).toEqual([])
  })

  it('is not held up by a writer that stays open in another database', async () => {
    const other = await freshDatabase('other')
    try {
      const writer = await openTx(other.db)
      await write(writer.tx, 'elsewhere')
      await write(test.db, 'goes through')
      expect(await drain()).toEqual(['goes through'])
      await writer.rollback()
    } finally {
      await other.drop()
    }
  })

  it('is not held up by a reader that stays open', async () => {
    const reader = await openTx(test.db)
    await reader.tx.execute(sql`set transaction isolation level repeatable read`)
    await reader.tx.query(sql`select count(*) from catalog.outbox_events`)
    await write(test.db, 'goes through')
    expect(await drain()).toEqual(['goes through'])
    await reader.rollback()
  })

  it('relays what was written inside a savepoint, and not what was rolled back to one', async () => {
    const open = await openTx(test.db)
    await write(open.tx, 'outer')
    await open.tx.execute(sql`savepoint one`)
    await write(open.tx, 'kept')
    await open.tx.execute(sql`release savepoint one`)
    await open.tx.execute(sql`savepoint two`)
    await write(open.tx, 'undone')
    await open.tx.execute(sql`rollback to savepoint two`)
    expect(await drain()).toEqual([])
    await open.commit()
    expect(await drain()).toEqual(['outer', 'kept'])
  })

  it('reads a backlog of many pages, with late rows among it, each row once and in seq order', async () => {
    const late = await openTx(test.db)
    await write(late.tx, 'late 1')
    await write(test.db, 'opener')
    expect(await drain()).toEqual(['opener'])
    await write(late.tx, 'late 2')
    for (let i = 0; i < 12; i += 1) await write(test.db, `fresh ${String(i)}`)
    await write(late.tx, 'late 3')
    await late.commit()
    await write(test.db, 'fresh last')
    const fresh = Array.from({ length: 12 }, (_, i) => `fresh ${String(i)}`)
    expect(await drain(5)).toEqual(['late 1', 'late 2', ...fresh, 'late 3', 'fresh last'])
  })

  it('leaves rows that commit while a window is being read to the next window', async () => {
    await write(test.db, 'in the window')
    const window = await open()
    await write(test.db, 'after the window')
    const page = window ? await readPage(test.as('likewise_relay'), window, window.afterSeq, limits) : []
    expect(namesOf(page)).toEqual(['in the window'])
    expect(await drain()).toEqual(['in the window', 'after the window'])
  })

  it('cuts a page by bytes but always gives one row', async () => {
    await write(test.db, 'x'.repeat(600))
    await write(test.db, 'y'.repeat(600))
    const window = await open()
    if (!window) throw new Error('no window')
    const page = await readPage(test.as('likewise_relay'), window, window.afterSeq, {
      pageRowsMax: 10,
      pageBytesMax: 100,
    })
    expect(page).toHaveLength(1)
  })
})

describe('moving the cursor', () => {
  it('lets one of several openings of the same window win', async () => {
    await write(test.db, 'a')
    const windows = await Promise.all([open(), open(), open()])
    const opened = new Set(windows.flatMap((window) => window?.n ?? []))
    expect(opened.size).toBe(1)
    expect(await drain()).toEqual(['a'])
  })

  it('goes on with a window whose opening was committed after its relay was gone', async () => {
    await write(test.db, 'a')
    const gone = await openTx(test.db)
    await nextWindows(gone.tx, owner, [{ shard, epoch }])
    const waiting = open() // sees the cursor before that window, and waits for the gone relay's row
    await until('it waits', async () => (await readWaiting(test.db)).length > 0)
    await gone.commit()
    expect(await waiting).toBeNull()
    expect(await drain()).toEqual(['a'])
  })

  it('does nothing when a settle arrives a second time, or late', async () => {
    await write(test.db, 'a')
    await write(test.db, 'b')
    const window = await open()
    if (!window) throw new Error('no window')
    const [first, second] = await readPage(test.as('likewise_relay'), window, window.afterSeq, limits)
    const holder = { owner, epoch }
    const settled = await settle(test.as('likewise_relay'), holder, window, {
      afterSeq: BigInt(first?.seq ?? 0),
    })
    expect(settled?.afterSeq).toBe(BigInt(first?.seq ?? 0))
    expect(
      await settle(test.as('likewise_relay'), holder, window, { afterSeq: BigInt(second?.seq ?? 0) }),
    ).toBeNull()
    expect(await drain()).toEqual(['b'])
  })

  it('refuses a settle from an owner or an epoch that is no longer the holder', async () => {
    await write(test.db, 'a')
    const window = await open()
    if (!window) throw new Error('no window')
    expect(
      await settle(test.as('likewise_relay'), { owner: randomUUID(), epoch }, window, {
        afterSeq: window.lastSeq,
      }),
    ).toBeNull()
    expect(
      await settle(test.as('likewise_relay'), { owner, epoch: epoch - 1n }, window, {
        afterSeq: window.lastSeq,
      }),
    ).toBeNull()
    expect(await drain()).toEqual(['a'])
  })

  it('opens no window for a shard that another relay holds', async () => {
    await write(test.db, 'a')
    expect(await nextWindows(test.as('likewise_relay'), randomUUID(), [{ shard, epoch }])).toEqual([])
    expect(await nextWindows(test.as('likewise_relay'), owner, [{ shard, epoch: epoch - 1n }])).toEqual([])
    expect(await drain()).toEqual(['a'])
  })

  it('keeps the log of a shard short', async () => {
    for (let i = 0; i < 60; i += 1) {
      await write(test.db, `e${String(i)}`)
      await drain()
    }
    const [count] = await test.db.query<{ n: bigint }>(
      sql`select count(*) as n from catalog.outbox_cursors where shard = ${shard}::smallint`,
    )
    expect(Number(count?.n)).toBeLessThanOrEqual(53)
  })
})

describe('outbox_status', () => {
  async function statuses(): Promise<
    Record<string, { status: string; attempts: number; error: string | null }>
  > {
    const rows = await statusRows(test.db, sql`shard = ${shard}::smallint`)
    return Object.fromEntries(rows.map(({ name, ...rest }) => [name, rest]))
  }

  it('tells PENDING, FAILED with attempts and error, and PUBLISHED', async () => {
    await write(test.db, 's1')
    await write(test.db, 's2')
    expect((await statuses())['s1']).toEqual({ status: 'PENDING', attempts: 0, error: null })
    const window = await open()
    if (!window) throw new Error('no window')
    const failed = await recordAttempt(test.db, { owner, epoch }, window, 'Kafka is away')
    expect((await statuses())['s1']).toEqual({ status: 'FAILED', attempts: 1, error: 'Kafka is away' })
    await write(test.db, 's3')
    expect((await statuses())['s3']).toEqual({ status: 'PENDING', attempts: 0, error: null })
    const [first] = await readPage(test.as('likewise_relay'), window, window.afterSeq, limits)
    if (failed)
      await settle(test.as('likewise_relay'), { owner, epoch }, failed, { afterSeq: BigInt(first?.seq ?? 0) })
    expect((await statuses())['s1']?.status).toBe('PUBLISHED')
    expect((await statuses())['s2']?.status).toBe('PENDING')
    await drain()
    expect((await statuses())['s3']?.status).toBe('PUBLISHED')
  })
})
