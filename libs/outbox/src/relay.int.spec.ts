import { randomUUID } from 'node:crypto'
import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import {
  type TestRelays,
  allPublished,
  allShards,
  buildRelays,
  intercepting,
  leaseRows,
  numbered,
  takeAllShards,
  unpublished,
  until,
  write,
  stealShards,
} from './testing.ts'

let test: TestDatabase
let relays: TestRelays

beforeAll(async () => {
  test = await freshDatabase('relay')
})
afterAll(() => test.drop())
beforeEach(() => {
  relays = buildRelays(test)
})
afterEach(async () => {
  await relays.stop()
  expect(relays.bugs).toEqual([])
})

describe('one relay', () => {
  it('publishes every committed event once and in order while nothing fails', async () => {
    const names = numbered('one-', 60)
    await write(test.db, names, (name) => String(Number(name.slice(-4)) % 7))
    relays.start()
    await allPublished(test.db)
    expect(relays.names().sort()).toEqual(names)
    for (let key = 0; key < 7; key += 1) {
      const ofKey = relays.sent.filter((event) => event.key === String(key)).map(({ name }) => name)
      expect(ofKey).toEqual([...ofKey].sort())
    }
  })

  it('reads the next page while the last one is on its way, and no more than that one (I8)', async () => {
    const pageRowsMax = 10
    const pages: number[] = []
    const db = intercepting(test.db, async (_statement, run) => {
      const found = await run()
      const events = (Array.isArray(found) ? found : []).filter(isEvent)
      if (events.length === pageRowsMax) pages.push(events.length)
      return found
    })
    await write(test.db, numbered('ahead-', 60), '100')
    let [arrived, answer] = [0, (): void => undefined]
    const answered = new Promise<void>((resolve) => (answer = resolve))
    relays.start({
      ...{ db, limits: { pageRowsMax } },
      publish: async () => {
        arrived += 1
        await answered
      },
    })
    try {
      await until('a page is on its way and the next one is read', () => arrived === 1 && pages.length === 2)
      await pause(300)
      expect([arrived, pages]).toEqual([1, [10, 10]])
    } finally {
      answer()
    }
    await allPublished(test.db)
    expect(relays.names()).toEqual(numbered('ahead-', 60))
  })

  const isEvent = (row: unknown): boolean => typeof row === 'object' && row !== null && 'partitionKey' in row

  it('settles the page that is on its way before it stops, and sends nothing after it', async () => {
    const names = numbered('stop-', 12)
    await write(test.db, names, '100')
    let arrived = 0
    let answer: () => void = () => {}
    const answered = new Promise<void>((resolve) => (answer = resolve))
    const relay = relays.start({
      publish: async () => {
        arrived += 1
        await answered
      },
    })
    await until('a page is on its way', () => arrived === 1)
    const stopped = relay.stop()
    await pause(50)
    answer()
    await stopped
    expect([arrived, relays.sent.length]).toEqual([1, 5])
    expect(await unpublished(test.db)).toHaveLength(7)
    relays.start({ by: 'next' })
    await allPublished(test.db)
    expect(relays.names()).toEqual(names)
  })

  it('stops at once when it has nothing to do, also right after its start', async () => {
    const began = performance.now()
    await relays.start().stop()
    await relays.start().stop()
    expect(performance.now() - began).toBeLessThan(1_000)
  })
})

describe('several relays', () => {
  it('share the shards fairly, and share them anew when one joins', async () => {
    const [a, b] = [relays.start({ by: 'a' }), relays.start({ by: 'b' })]
    await until('two hold 6 each', () => a.shards().length === 6 && b.shards().length === 6)
    expect([...a.shards(), ...b.shards()].sort((x, y) => x - y)).toEqual(allShards)
    const c = relays.start({ by: 'c' })
    await until('three hold 4 each', () => [a, b, c].every((relay) => relay.shards().length === 4))
    expect([...a.shards(), ...b.shards(), ...c.shards()].sort((x, y) => x - y)).toEqual(allShards)
  })

  it('publish together what one would publish alone, each event once', async () => {
    const [a, b] = [relays.start({ by: 'a' }), relays.start({ by: 'b' })]
    await until('both have shards', () => a.shards().length === 6 && b.shards().length === 6)
    const names = numbered('both-', 80)
    await write(test.db, names, (name) => name)
    await allPublished(test.db)
    expect(relays.names().sort()).toEqual(names)
    expect(new Set(relays.sent.map(({ by }) => by))).toEqual(new Set(['a', 'b']))
  })

  it('give a shard back between two pages, however long its backlog is', async () => {
    const names = numbered('backlog-', 400)
    await test.db.tx((tx) => write(tx, names, '100'))
    const a = relays.start({ by: 'a', publish: () => pause(100) })
    await until('it publishes', () => relays.sent.length > 0)
    const b = relays.start({ by: 'b' })
    await until('both hold 6', () => a.shards().length === 6 && b.shards().length === 6)
    await allPublished(test.db)
    expect(relays.firstCopies()).toEqual(names)
    expect(relays.sent.at(-1)?.by).toBe('b')
    expect(relays.sent.filter(({ by }) => by === 'a').length).toBeLessThan(400)
  })

  it('keep the events of one user and product in order while relays come and go', async () => {
    const names = numbered('order-', 150)
    const writing = write(test.db, names, '100')
    for (let round = 0; round < 4; round += 1) {
      const [a, b] = [relays.start({ by: `a${String(round)}` }), relays.start({ by: `b${String(round)}` })]
      await until('it goes on', () => relays.sent.length > 0 || a.shards().length + b.shards().length > 0)
      await pause(100)
      await Promise.all([a.stop(), b.stop()])
    }
    await writing
    relays.start({ by: 'last' })
    await allPublished(test.db)
    expect(relays.firstCopies()).toEqual(names)
  })

  it('give their shards back at once when they stop', async () => {
    const relay = relays.start()
    await until('it holds all', () => relay.shards().length === 12)
    await relay.stop()
    expect(relay.shards()).toEqual([])
    expect((await leaseRows(test.db)).filter(({ owner }) => owner !== null)).toEqual([])
    expect(await test.db.query(sql`select owner from catalog.outbox_relays`)).toEqual([])
  })
})

describe('a relay that is gone', () => {
  /** Takes every shard as a relay that then dies: it neither renews nor gives back. */
  async function die(leaseMs: number): Promise<{ owner: string; epochs: bigint[] }> {
    const owner = randomUUID()
    const taken = await takeAllShards(test.db, owner, leaseMs)
    expect(taken).toHaveLength(12)
    return { owner, epochs: taken.sort((x, y) => x.shard - y.shard).map(({ epoch }) => epoch) }
  }

  it('loses its shards with the next epoch once its lease ran out, and not before', async () => {
    const { owner, epochs } = await die(700)
    await write(test.db, numbered('dead-', 30), (name) => name)
    const relay = relays.start()
    const other = relays.start()
    for (let ranOut = false; !ranOut; await pause(20)) {
      const held = [...relay.shards(), ...other.shards()]
      const [row] = await test.db.query<{ ranOut: boolean }>(sql`
        select bool_or(lease.owner <> ${owner}::uuid or dead.seen_until <= now()) as "ranOut"
        from catalog.outbox_leases as lease join catalog.outbox_relays as dead on dead.owner = ${owner}::uuid`)
      ranOut = row?.ranOut === true
      if (!ranOut) expect({ held, sent: relays.sent }).toEqual({ held: [], sent: [] })
    }
    await until('others hold all', () => relay.shards().length === 6 && other.shards().length === 6)
    const now = await leaseRows(test.db)
    expect(now.every((lease, i) => lease.owner !== owner && lease.epoch > epochs[i]!)).toBe(true)
    await allPublished(test.db)
    expect(relays.sent).toHaveLength(30)
  })

  it('does not keep its shards for ever by a lease that lies absurdly far in the future', async () => {
    const { owner, epochs } = await die(700)
    await test.db.execute(sql`update catalog.outbox_relays set seen_until = now() + interval '1 year'`)
    const relay = relays.start()
    await until('it holds all', () => relay.shards().length === 12)
    const now = await leaseRows(test.db)
    expect(now.map(({ epoch }) => epoch)).toEqual(epochs.map((epoch) => epoch + 1n))
    expect(now.some((lease) => lease.owner === owner)).toBe(false)
  })

  it('left a window half published: the next relay goes on behind the last page that was settled', async () => {
    const names = numbered('half-', 14)
    await write(test.db, names, '100')
    let pages = 0
    const dying = relays.start({
      by: 'dying',
      publish: async () => {
        if ((pages += 1) === 2) await stealShards(test.db, { aliveMs: 0 })
      },
    })
    await until('two pages were sent', () => relays.sent.length >= 10)
    await dying.stop()
    relays.start({ by: 'next' })
    await allPublished(test.db)
    expect(relays.firstCopies()).toEqual(names)
    expect(relays.sent.filter(({ name }) => name < names[5]!)).toHaveLength(5)
  })
})
