import { randomUUID } from 'node:crypto'
import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { shardOf } from '@likewise/events'
import { Failure, pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { type OutboxEvent, readPage } from './page.ts'
import {
  type TestRelay,
  type TestRelays,
  allPublished,
  buildRelays,
  nameOf,
  numbered,
  parkedNames,
  takeAllShards,
  until,
  write,
  writeTogether,
  stealShards,
} from './testing.ts'
import { nextWindows } from './window.ts'

// The first key of each of five shards.
const keys = [0, 1, 2, 3, 4].map((shard) => {
  for (let key = 1; ; key += 1) if (shardOf(String(key)) === shard) return String(key)
})
const byNumber = (name: string): string => keys[Number(name.slice(-4)) % keys.length] ?? ''
const small = { rowsMax: 10, bytesMax: 100_000 }

let test: TestDatabase
let relays: TestRelays
let sends: string[][]

beforeEach(async () => {
  test = await freshDatabase('together')
  relays = buildRelays(test)
  sends = []
})
afterEach(async () => {
  await relays.stop()
  expect(relays.bugs).toEqual([])
  await test.drop()
})

const noting =
  (broker: (names: string[]) => Promise<void> | void = () => undefined) =>
  async (events: readonly OutboxEvent[]): Promise<void> => {
    const names = events.map(nameOf)
    sends.push(names)
    await broker(names)
  }

describe('small windows of several shards', () => {
  it('go out in one send, each shard in its order, and are settled', async () => {
    const names = numbered('one-', 10)
    await publishFirstWindows()
    await startIdle()
    await writeTogether(test.db, names, byNumber)
    await allPublished(test.db)
    expect(sends).toHaveLength(1)
    for (const key of keys) expect(relays.names(key)).toEqual(names.filter((name) => byNumber(name) === key))
  })

  it('are each sent alone where one is refused: it parks, the others flow (I4, I9)', async () => {
    await publishFirstWindows()
    await startIdle((names) => {
      if (names.includes('some-0003')) throw new Failure('EVENT_REFUSED', 'Kafka refuses: too large.')
    })
    await writeTogether(test.db, numbered('some-', 10), byNumber)
    // The refused one is parked in one transaction, what is behind it in a later one.
    await until('it and its tail are parked', async () => (await parkedNames(test.db)).length === 2)
    await until('the others are out', () => relays.sent.length === 8)
    expect(await parkedNames(test.db)).toEqual(['some-0003', 'some-0008'])
    const [first, ...later] = sends
    expect(first).toHaveLength(10)
    for (const names of later) expect(new Set(names.map(byNumber)).size).toBe(1)
    expect(new Set(relays.names())).toEqual(
      new Set(numbered('some-', 10).filter((name) => !/0003|0008/.test(name))),
    )
  })

  it('wait together for no partition that has no leader: only its own shard does', async () => {
    await publishFirstWindows()
    let away = true
    await writeTogether(test.db, numbered('leader-', 10), byNumber)
    relays.start({
      limits: { pageRowsMax: 100 },
      publish: noting((names) => {
        if (away && names.some((name) => byNumber(name) === keys[0]))
          throw new Failure('BROKER_UNAVAILABLE', 'There is no leader.')
      }),
    })
    await until('the others are out', () => relays.sent.length === 8)
    await writeTogether(test.db, numbered('later-', 10), byNumber)
    await until('and what comes later', () => relays.sent.length === 16)
    away = false
    await allPublished(test.db)
    expect(relays.names(keys[0])).toEqual(['leader-0000', 'leader-0005', 'later-0000', 'later-0005'])
    expect(relays.names()).toHaveLength(20)
  })

  it('are settled but for the one whose lease was stolen meanwhile: that one goes out again, by its next owner', async () => {
    await publishFirstWindows()
    const names = numbered('thief-', 10)
    let stolen = false
    const relay = await startIdle(async () => {
      if (stolen) return
      stolen = true
      await stealShards(test.db, { aliveMs: 0, shards: [shardOf(keys[0]!)] })
    })
    await writeTogether(test.db, names, byNumber)
    await allPublished(test.db)
    expect(relays.names(keys[0])).toEqual(['thief-0000', 'thief-0005', 'thief-0000', 'thief-0005'])
    for (const key of keys.slice(1)) expect(relays.names(key)).toHaveLength(2)
    expect(await relay.counted('likewise_outbox_fenced_writes_total')).toBe(1)
  })
})

describe('a shard whose broker is slow to answer', () => {
  it('is left out for a while, and the others do not wait for it', async () => {
    await publishFirstWindows()
    const isSlow = (names: readonly string[]) => names.some((name) => byNumber(name) === keys[0])
    let answer = (): void => undefined
    let sendsHeld = 0
    await startIdle(async (names) => {
      if (!isSlow(names)) return
      if (names.length > 2) return pause(700)
      sendsHeld += 1
      await new Promise<void>((resolve) => (answer = resolve))
    })
    await writeTogether(test.db, numbered('a-', 10), byNumber)
    await allPublished(test.db)
    await writeTogether(test.db, numbered('b-', 10), byNumber)
    await until('the others are out', () => relays.sent.length === 18)
    await until('the slow one is on its way', () => sendsHeld === 1)
    await writeTogether(test.db, numbered('c-', 10), byNumber)
    await until('the others are out again', () => relays.sent.length === 26)
    answer()
    await until('the slow one goes on', () => sendsHeld === 2)
    answer()
    await allPublished(test.db)
    expect(relays.names(keys[0])).toEqual(['a-0000', 'a-0005', 'b-0000', 'b-0005', 'c-0000', 'c-0005'])
  })
})

describe('a window that is opened', () => {
  const owner = randomUUID()

  it('brings all of its events when it is small, and none when it has too many or too much', async () => {
    await publishFirstWindows()
    const open = async (limits = small) =>
      nextWindows(test.as('likewise_relay'), owner, await takeAllShards(test.db, owner), limits)
    await writeTogether(test.db, numbered('few-', 10), () => '1')
    expect((await open())[0]?.events?.map(nameOf)).toEqual(numbered('few-', 10))
    expect((await open({ ...small, rowsMax: 9 }))[0]).toMatchObject({ rowCount: 10n, events: null })
    expect((await open({ ...small, bytesMax: 4_000 }))[0]).toMatchObject({ rowCount: 10n, events: null })
  })

  it('reads of a page of large events no more than its bytes', async () => {
    await test.db.execute(sql`
      insert into catalog.outbox_events (shard, aggregate_type, aggregate_id, event_type, topic, partition_key, payload)
      select 0, 'product', '1', 'test.happened.v1', 'test', '1',
             json_build_object('name', n, 'text', (select string_agg(md5((n * 1000 + i)::text), '') from generate_series(1, 6000) as i))
      from generate_series(1, 60) as n`)
    const [window] = await nextWindows(
      test.as('likewise_relay'),
      owner,
      await takeAllShards(test.db, owner),
      small,
    )
    let rows = 0
    const watched = {
      ...test.db,
      query: async <T>(statement: Parameters<typeof test.db.query>[0]) => {
        const found = await test.db.query<T>(statement)
        rows = found.length
        return found
      },
    }
    const page = await readPage(watched, window!, window!.afterSeq, {
      pageRowsMax: 500,
      pageBytesMax: 900_000,
    })
    expect(page.length).toBeGreaterThanOrEqual(1)
    expect(page.length).toBeLessThanOrEqual(4) // of 192 KB each
    expect(rows).toBeLessThanOrEqual(9) // from the server, at most double
  })
})

/** A relay that holds all shards and has looked at each of them. */
async function startIdle(broker?: (names: string[]) => Promise<void> | void): Promise<TestRelay> {
  const relay = relays.start({ limits: { pageRowsMax: 100 }, publish: noting(broker) })
  await until('it holds all', () => relay.shards().length === 12)
  await pause(200)
  return relay
}

/** The first window of a shard begins before everything and is read page by page. */
async function publishFirstWindows(): Promise<void> {
  const first = buildRelays(test)
  for (const key of keys) await write(test.db, ['first'], () => key)
  first.start()
  await allPublished(test.db)
  await first.stop()
}
