import { AsyncLocalStorage } from 'node:async_hooks'
import { type Database, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { shardOf } from '@likewise/events'
import { Failure, pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import {
  type Publish,
  type TestRelay,
  type TestRelays,
  allPublished,
  allShards,
  buildRelays,
  intercepting,
  leaseRows,
  numbered,
  unpublished,
  until,
  write,
  writeTogether,
} from './testing.ts'

const leaseMs = 2_000
const dayMs = 86_400_000
const fenced = 'likewise_outbox_fenced_writes_total'
/** A key for each shard. */
const keys = allShards.map((shard) => {
  for (let i = 0; ; i += 1) if (shardOf(`k${i}`) === shard) return `k${i}`
})
const keyOf = (name: string): string => name.slice(0, name.indexOf('-'))
const perKey = (count: number, from = 0): string[] =>
  numbered('', count, from).flatMap((number) => keys.map((key) => `${key}-${number}`))

let test: TestDatabase
let relays: TestRelays
let frozen: Ice[]

beforeEach(async () => {
  test = await freshDatabase('relay_leases')
  relays = buildRelays(test)
  frozen = []
})
afterEach(async () => {
  for (const ice of frozen) ice.thaw()
  await relays.stop()
  expect(relays.bugs).toEqual([])
  await test.drop()
})

const start = (change: Parameters<TestRelays['start']>[0] = {}): TestRelay =>
  relays.start({ ...change, limits: { leaseMs, ...change.limits } })

interface Ice {
  freeze(): void
  thaw(): void
  /** Resolves when it is not frozen. */
  passed(): Promise<void>
  /** The way to the database: statements go out, and answers come in, only while it is not frozen. */
  db: Database
}

/** What SIGSTOP, a long pause or a partition does to a relay: nothing comes or goes for a while, then all of it does. */
function buildIce(): Ice {
  let [isFrozen, melted, melt] = [false, Promise.resolve(), (): void => undefined]
  const passed = () => melted
  const ice = {
    freeze: () => {
      if (isFrozen) return
      isFrozen = true
      melted = new Promise((resolve) => (melt = resolve))
    },
    thaw: () => {
      isFrozen = false
      melt()
    },
    passed,
    db: intercepting(test.as('likewise_relay'), async (_statement, run) => {
      await passed()
      const rows = await run()
      await passed()
      return rows
    }),
  }
  frozen.push(ice)
  return ice
}

const databaseNow = async (): Promise<number> => {
  const [row] = await test.db.query<{ ms: number }>(
    sql`select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms`,
  )
  return row!.ms
}

/** Waits for it, and measures by the clock of the database, which is that of the leases. */
async function withinTwoLeases(
  since: number,
  what: string,
  holds: () => boolean | Promise<boolean>,
): Promise<void> {
  let at = since
  await until(what, async () => {
    at = await databaseNow()
    return holds()
  })
  expect(at - since).toBeLessThanOrEqual(2 * leaseMs)
}

/** Whether all shards are held, by these relays only, each by its fair share. */
async function isFair(among: readonly TestRelay[]): Promise<boolean> {
  const rows = await test.db.query<{ owner: string; shards: number }>(sql`
    select owner::text as owner, count(*)::int as shards
    from catalog.outbox_leases join catalog.outbox_relays using (owner)
    where seen_until > clock_timestamp() group by owner`)
  const held = among.map(({ owner }) => rows.find((row) => row.owner === owner)?.shards ?? 0)
  const total = held.reduce((sum, shards) => sum + shards, 0)
  return total === 12 && Math.max(...held) - Math.min(...held) <= 1
}

const sharedBy = (among: readonly TestRelay[]) => until('the shards are shared', () => isFair(among))

/** The names of each key that came, first copies only, must be in the order they were written. */
function expectInOrder(names: readonly string[]): void {
  for (const key of keys) expect(relays.firstCopies(key)).toEqual(names.filter((name) => keyOf(name) === key))
}

describe('a fair share of the shards', () => {
  it('is what each relay holds within two lease periods after one has joined', async () => {
    const before = [start(), start()]
    await sharedBy(before)
    const since = await databaseNow()
    const all = [...before, start()]
    await withinTwoLeases(since, 'three share', () => isFair(all))
  })

  it('is what each relay holds within two lease periods after one has stopped', async () => {
    const [leaver, ...others] = [start(), start(), start()] as const
    await sharedBy([leaver, ...others])
    const since = await databaseNow()
    await leaver.stop()
    await withinTwoLeases(since, 'two share', () => isFair(others))
  })

  it('is what each relay holds within two lease periods after one has died without a word', async () => {
    const ice = buildIce()
    const dying = start({ db: ice.db, publish: ice.passed })
    const others = [start(), start()]
    await sharedBy([dying, ...others])
    const since = await databaseNow()
    ice.freeze()
    await withinTwoLeases(since, 'two share', () => isFair(others))
  })

  it('comes to a relay that had no shard when one that had leaves', async () => {
    const limits = { pollMinMs: 20, pollMaxMs: 200 }
    const all = Array.from({ length: 13 }, (_, i) => start({ by: String(i), limits }))
    await sharedBy(all)
    const spare = all.findIndex((relay) => relay.shards().length === 0)
    const leaver = all[(spare + 1) % 13]!
    const since = await databaseNow()
    await leaver.stop()
    await withinTwoLeases(since, 'twelve share', () => isFair(all.filter((relay) => relay !== leaver)))
    await write(test.db, perKey(2), keyOf)
    await allPublished(test.db)
    expect(relays.sent.filter(({ by }) => by === String(spare))).toHaveLength(2)
    expect(relays.sent).toHaveLength(24)
  })
})

describe('a rolling restart of all relays', () => {
  it('while events are written sends none twice, loses none and keeps each key in order (I1, I4)', async () => {
    const publish: Publish = () => pause(3)
    let running = [start({ publish }), start({ publish }), start({ publish })]
    await sharedBy(running)
    const over = new AbortController()
    const written: string[] = []
    const writing = (async () => {
      for (let i = 0; !over.signal.aborted; i += 1) {
        const names = perKey(2, 2 * i)
        await writeTogether(test.db, names, keyOf)
        written.push(...names)
      }
    })()
    for (const old of running) {
      const next = start({ publish })
      running = [...running.filter((relay) => relay !== old), next]
      await until('the new one works', () => next.shards().length > 0)
      await old.stop()
      await until('something comes', () => relays.sent.length > 0)
    }
    await sharedBy(running)
    over.abort()
    await writing
    await allPublished(test.db)
    expect(relays.sent).toHaveLength(written.length)
    expectInOrder(written)
  })
})

describe('a relay that dies with pages on their way', () => {
  it('is replaced within two lease periods, and its events are published, in order (I1, I4)', async () => {
    const ice = buildIce()
    let pages = 0
    const publish: Publish = async () => {
      pages += 1
      ice.freeze()
      await ice.passed()
    }
    await sharedBy([start({ db: ice.db, publish }), start()])
    const names = perKey(8)
    await writeTogether(test.db, names, keyOf)
    await until('a page is on its way', () => pages > 0)
    const since = await databaseNow()
    await withinTwoLeases(since, 'all are published', async () => (await unpublished(test.db)).length === 0)
    expectInOrder(names)
    expect(pages).toBeLessThanOrEqual(6)
  })
})

describe('a relay that was frozen past its lease, while another took over', () => {
  it('settles nothing, is fenced and counted, and goes on with what it really owns (I10)', async () => {
    const ice = buildIce()
    let freezes = false
    const sleeper = start({
      by: 'sleeper',
      db: ice.db,
      publish: async () => {
        if (freezes) ice.freeze()
        await ice.passed()
      },
    })
    await until('it holds all', () => sleeper.shards().length === 12)
    const names = perKey(7)
    await writeTogether(test.db, names.slice(0, 1), keyOf)
    await allPublished(test.db)
    freezes = true
    await writeTogether(test.db, names.slice(1), keyOf)
    const other = start({ by: 'other' })
    await until('the other has taken over', () => isFair([other]))
    await allPublished(test.db)
    const cursors = sql`select shard, n, after_seq, owner::text, epoch from catalog.outbox_cursors order by shard, n`
    const before = await test.db.query(cursors)
    freezes = false
    ice.thaw()
    await until('its write is fenced off', async () => (await sleeper.counted(fenced)) > 0)
    expect(await test.db.query(cursors)).toEqual(before)
    await sharedBy([sleeper, other])

    const sentBefore = relays.sent.length
    const more = perKey(5, 7)
    await write(test.db, more, keyOf)
    await allPublished(test.db)
    expectInOrder([...names, ...more])
    const owned = new Set(
      (await leaseRows(test.db)).filter((l) => l.owner === sleeper.owner).map((l) => l.shard),
    )
    const since = relays.sent.slice(sentBefore)
    expect(since).toHaveLength(60)
    for (const { key, by } of since) expect(by).toBe(owned.has(shardOf(key)) ? 'sleeper' : 'other')
  })
})

describe('a relay that cannot reach the database', () => {
  it.each(['waits in vain', 'is refused'])(
    'because each statement %s publishes nothing beyond the page it has in hand for each shard',
    async (how) => {
      const ice = buildIce()
      let away = false
      const db = intercepting(ice.db, async (_statement, run) => {
        if (away && how === 'is refused') throw new Failure('DATABASE_UNAVAILABLE', 'cut')
        return run()
      })
      const names = perKey(40)
      await writeTogether(test.db, names, keyOf)
      const inHand = new Set<string>()
      const pagesSince: string[] = []
      const publish: Publish = async ([event]) => {
        const key = event!.partitionKey
        if (away) pagesSince.push(key)
        inHand.add(key)
        await pause(20)
        inHand.delete(key)
      }
      const relay = start({ db, publish })
      await until('it publishes', () => relays.sent.length > 40)
      away = true
      pagesSince.push(...inHand)
      if (how === 'waits in vain') ice.freeze()
      const since = await databaseNow()
      await until('its leases ran out long ago', async () => (await databaseNow()) > since + 2 * leaseMs)
      expect(pagesSince).toHaveLength(new Set(pagesSince).size)
      expect(relay.shards()).toEqual([])
      away = false
      ice.thaw()
      await allPublished(test.db)
      expectInOrder(names)
    },
  )
})

describe('a wall clock that jumps by a day', () => {
  it('in one relay moves no lease, neither its own nor another’s, and holds no event back', async () => {
    const clock = wrongClock()
    try {
      const wrong = clock.run(() => start({ by: 'wrong' }))
      const right = start({ by: 'right' })
      await sharedBy([wrong, right])
      const before = await leaseRows(test.db)
      const written: string[] = []
      for (const offMs of [dayMs, -dayMs]) {
        clock.set(offMs)
        const since = await databaseNow()
        while ((await databaseNow()) < since + 1.5 * leaseMs) {
          const names = perKey(1, written.length / keys.length)
          await writeTogether(test.db, names, keyOf)
          written.push(...names)
          await allPublished(test.db)
          expect(await isFair([wrong, right])).toBe(true)
        }
      }
      expect(await leaseRows(test.db)).toEqual(before)
      expect(relays.sent).toHaveLength(written.length)
      expectInOrder(written)
    } finally {
      clock.restore()
    }
  })
})

/** Dates as they are, except for what was begun inside `run`, for which they are off by what `set` says. */
function wrongClock() {
  const RealDate = Date
  const inside = new AsyncLocalStorage<true>()
  let offMs = 0
  const now = () => RealDate.now() + (inside.getStore() === true ? offMs : 0)
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, args) => Reflect.construct(target, args.length > 0 ? args : [now()]) as object,
    get: (target, name) => (name === 'now' ? now : (Reflect.get(target, name) as unknown)),
  })
  return {
    run: <T>(work: () => T): T => inside.run(true, work),
    set: (ms: number) => void (offMs = ms),
    restore: () => void (globalThis.Date = RealDate),
  }
}
