import { randomUUID } from 'node:crypto'
import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { checkIdentity } from './identity.ts'
import { recover, republish } from './rewind.ts'
import {
  type TestRelays,
  allPublished,
  buildRelays,
  numbered,
  takeAllShards,
  until,
  write,
} from './testing.ts'
import { nextWindows } from './window.ts'

const actor = 'somebody@test'
let test: TestDatabase
let relays: TestRelays
let loads: { stop: () => Promise<string[][]> }[]

beforeEach(async () => {
  test = await freshDatabase('rewind')
  relays = buildRelays(test)
  loads = []
})
afterEach(async () => {
  await Promise.all(loads.map((load) => load.stop()))
  await relays.stop()
  expect(relays.bugs).toEqual([])
  await test.drop()
})

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

/** Writes events of each key, one after the other, until told. `stop` resolves with their names by key. */
function keepWriting(keys: readonly string[], from: number): { stop: () => Promise<string[][]> } {
  const over = new AbortController()
  const writing = keys.map(async (key) => {
    const names: string[] = []
    while (!over.signal.aborted) {
      const next = numbered(key, 3, from + names.length)
      await write(test.db, next)
      names.push(...next)
    }
    return names
  })
  const stop = () => {
    over.abort()
    return Promise.all(writing)
  }
  loads.push({ stop })
  return { stop }
}

/** How much had been sent when a republish began, and when it was done. */
interface Moment {
  began: number
  done: number
}

async function republished(since?: Date): Promise<Moment & { events: number }> {
  const began = relays.sent.length
  const { events } = await republish(test.as('likewise_operator'), { ...(since && { since }), actor })
  return { began, done: relays.sent.length, events }
}

/**
 * The first copies of a key since a republish, from its oldest event on. Between the two comes at most the page that was
 * already on its way: it is fenced off, and comes again.
 */
function againOf(key: string, { began, done }: Moment, oldest: string): string[] {
  const begin = relays.sent.findIndex(({ name }, i) => i >= began && name === oldest)
  if (begin === -1) return []
  const ofKey = (from: number, to?: number) =>
    relays.sent.slice(from, to).flatMap((event) => (event.key === key ? event.name : []))
  expect(ofKey(done, Math.max(begin, done)).length).toBeLessThanOrEqual(5)
  return [...new Set(ofKey(begin))]
}

describe('republish', () => {
  it('sends again what was written since a time, in order, while relays run and new events come', async () => {
    const names = [...numbered('a', 30), ...numbered('b', 30)]
    await write(test.db, names.slice(0, 20))
    relays.start()
    await allPublished(test.db)
    await pause(20)
    const since = new Date()
    await write(test.db, names.slice(20))
    await allPublished(test.db)
    expect(relays.names()).toHaveLength(60)
    expect(await republish(test.as('likewise_operator'), { since, actor, dryRun: true })).toMatchObject({
      events: 40,
    })

    const load = keepWriting(['a', 'b'], 30)
    await until('new ones come', () => relays.sent.length > 80)
    const moment = await republished(since)
    expect(moment.events).toBeGreaterThan(60)
    const [a = [], b = []] = await load.stop()
    await allPublished(test.db)
    expect(againOf('a', moment, names[20]!)).toEqual([...names.slice(20, 30), ...a])
    expect(againOf('b', moment, names[30]!)).toEqual([...names.slice(30), ...b])
    expect(await test.db.query(sql`select actor, action from catalog.outbox_audit`)).toEqual([
      { actor, action: 'republish' },
    ])
  })

  it('sends every event again beside busy relays under load: none lost, each key in order (I1, I4)', async () => {
    const keys = ['a', 'b', 'c', 'd', 'e', 'f']
    for (const by of ['one', 'two']) relays.start({ by, publish: () => pause(2) })
    const load = keepWriting(keys, 0)
    for (let round = 1; round <= 3; round += 1) {
      await until('both relays are busy', () => relays.sent.length > round * 600)
      const moment = await republished()
      expect(moment.events).toBeGreaterThanOrEqual(new Set(relays.names().slice(0, moment.began)).size)
      const cameAgain = (key: string) => againOf(key, moment, `${key}0000`).length > 50
      await until('the oldest come again', () => keys.every(cameAgain))
    }
    const moment = await republished()
    const written = await load.stop()
    await allPublished(test.db)
    for (const [i, key] of keys.entries()) expect(againOf(key, moment, `${key}0000`)).toEqual(written[i])
    expect(new Set(relays.sent.map(({ by }) => by))).toEqual(new Set(['one', 'two']))
  })

  it('passes over nothing that was not published yet, however old it is (I1)', async () => {
    await write(test.db, numbered('a', 12))
    expect(
      await republish(test.as('likewise_operator'), { since: new Date(Date.now() + 60_000), actor }),
    ).toMatchObject({
      events: 12,
    })
    relays.start()
    await allPublished(test.db)
    expect(relays.names()).toEqual(numbered('a', 12))
  })
})

describe('an outbox that was restored into another cluster', () => {
  it('is refused with the command that mends it, and goes on after that with overlap, not loss (I1)', async () => {
    await write(test.db, numbered('a', 10))
    relays.start()
    await allPublished(test.db)
    await relays.stop()
    await write(test.db, numbered('c', 5)) // written before the dump, never published
    await restoreFromFarAhead()
    await write(test.db, numbered('b', 10)) // written after it: under the cursors as they are, published long ago
    const restarted = relays.start()
    await until('it is refused', () => restarted.fault() !== null)
    expect(restarted.fault()?.message).toMatch(
      /does not belong to this PostgreSQL cluster.*likewise outbox recover/,
    )
    expect(restarted.shards()).toEqual([])
    relays.sent.splice(0)
    await pause(500)
    expect(relays.names()).toEqual([])

    await recover(test.db, { actor })
    await until('all come', () => new Set(relays.names()).size === 25)
    expect(restarted.fault()).toBeNull()
    await allPublished(test.db)
    expect(relays.names('b')).toEqual(numbered('b', 10))
    expect(relays.names('c')).toEqual(numbered('c', 5))
    await write(test.db, ['b900'])
    await until('new ones flow', () => relays.names().includes('b900'))
  })

  it('loses nothing with a time either: what was not published goes out, however old', async () => {
    await write(test.db, numbered('a', 10))
    relays.start()
    await allPublished(test.db)
    await relays.stop()
    await write(test.db, numbered('c', 5))
    await restoreFromFarAhead()
    await pause(5)
    const since = new Date()
    await write(test.db, numbered('b', 10))
    relays.sent.splice(0)
    await recover(test.db, { actor, since })
    relays.start()
    await until('all come', () => new Set([...relays.names('b'), ...relays.names('c')]).size === 15)
    expect(relays.names('b')).toEqual(numbered('b', 10))
    expect(relays.names('c')).toEqual(numbered('c', 5))
  })

  it('opens no window while its transaction ids are behind the cursors, even before that is noticed', async () => {
    await checkIdentity(test.as('likewise_relay'))
    await write(test.db, ['a1'])
    relays.start()
    await allPublished(test.db)
    await relays.stop()
    await write(test.db, ['a2']) // written before the dump, never published: beyond the cursors there and here
    await restoreFromFarAhead()
    await test.db.execute(sql`
      update catalog.outbox_meta set system_identifier = (select system_identifier::text from pg_control_system())`)
    await write(test.db, ['a3'])
    const cursors = sql`select shard, n, to_snapshot::text from catalog.outbox_cursors order by shard, n`
    const before = await test.db.query(cursors)
    const owner = randomUUID()
    expect(await nextWindows(test.as('likewise_relay'), owner, await takeAllShards(test.db, owner))).toEqual(
      [],
    )
    expect(await test.db.query(cursors)).toEqual(before)
    await expect(checkIdentity(test.as('likewise_relay'))).rejects.toMatchObject({
      code: 'OUTBOX_MISMATCH',
      message: expect.stringContaining('its transaction ids have not got as far') as unknown,
    })
  })

  it('is told from a promoted standby, which goes on by itself', async () => {
    expect(await checkIdentity(test.as('likewise_relay'))).toMatchObject({ leftTimeline: null })
    await test.db.execute(sql`update catalog.outbox_meta set timeline = 41`)
    expect(await checkIdentity(test.as('likewise_relay'))).toMatchObject({ leftTimeline: 41 })
    expect(await checkIdentity(test.as('likewise_relay'))).toMatchObject({ leftTimeline: null })
  })
})

describe('recover with a time', () => {
  it('takes no row for published that only looks as if it lay inside a finished window (I1)', async () => {
    await write(test.db, ['a1'])
    const seen = sql`format('%1$s:%1$s:', pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1000000)::pg_snapshot`
    // Published in the old cluster, whose transaction ids were ahead of this one's.
    await test.db.execute(sql`
      insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, last_seq, after_seq, epoch)
      select shard, 1, '1:1:', ${seen}, 1, 1, 0 from catalog.outbox_cursors where n = 0`)
    await write(test.db, ['a2'])
    const since = new Date(Date.now() + 60_000)
    expect(await recover(test.db, { actor, since })).toMatchObject({ events: 1 })
  })
})
