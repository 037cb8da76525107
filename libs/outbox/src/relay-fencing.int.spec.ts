import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { shardOf } from '@likewise/events'
import { Failure, pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import {
  type TestRelays,
  allPublished,
  buildRelays,
  intercepting,
  numbered,
  unpublished,
  until,
  write,
  stealShards,
} from './testing.ts'

const brokerAway = () => new Failure('BROKER_UNAVAILABLE', 'Kafka does not take records: nobody listens.')
const databaseAway = () => new Failure('DATABASE_UNAVAILABLE', 'PostgreSQL is not available: cut.')

let test: TestDatabase
let relays: TestRelays

beforeEach(async () => {
  test = await freshDatabase('relay_fencing')
  relays = buildRelays(test)
})
afterEach(async () => {
  await relays.stop()
  await test.drop()
})

describe('a relay whose lease was stolen', () => {
  it('settles nothing, and counts the write that was fenced off', async () => {
    const shard = shardOf('100')
    let thief = ''
    const cursor = () =>
      test.db
        .query(sql`select n, after_seq, owner::text from catalog.outbox_cursors where shard = ${shard}::smallint
        order by n desc limit 1`)
    let before: unknown
    let stolen = false
    const relay = relays.start({
      limits: { leaseMs: 3_000 },
      publish: async () => {
        if (stolen) return
        thief = await stealShards(test.db, { aliveMs: 20_000 })
        before = await cursor()
        stolen = true
      },
    })
    await write(test.db, numbered('stolen-', 7), '100')
    await until(
      'a write is fenced off',
      async () => (await relay.counted('likewise_outbox_fenced_writes_total')) > 0,
    )
    expect(await relay.counted('likewise_outbox_fenced_writes_total')).toBe(1)
    expect(await cursor()).toEqual(before)
    expect(await unpublished(test.db)).toHaveLength(7)
    await until('it knows that it holds nothing', () => relay.shards().length === 0)
    expect(relays.bugs).toEqual([])

    await relay.stop()
    await test.db.execute(sql`update catalog.outbox_leases set owner = null where owner = ${thief}::uuid`)
    relays.start()
    await allPublished(test.db)
    expect(relays.firstCopies()).toEqual(numbered('stolen-', 7))
  })

  it('records no attempt on the new owner’s cursor either', async () => {
    await write(test.db, numbered('failing-', 2), '100')
    const relay = relays.start({
      limits: { leaseMs: 3_000 },
      publish: async () => {
        await stealShards(test.db, { aliveMs: 20_000 })
        throw brokerAway()
      },
    })
    await until(
      'a write is fenced off',
      async () => (await relay.counted('likewise_outbox_fenced_writes_total')) > 0,
    )
    expect((await unpublished(test.db)).map(({ status, attempts }) => [status, attempts])).toEqual([
      ['PENDING', 0],
      ['PENDING', 0],
    ])
  })
})

describe('a relay whose lease ran out', () => {
  it('sends no further page, though it could still settle one, until it has renewed', async () => {
    let renews = true
    let pages = 0
    const db = intercepting(test.as('likewise_relay'), async (statement, run) => {
      if (!renews && statement.sql.includes('outbox_relays')) throw databaseAway()
      return run()
    })
    const names = numbered('late-', 12)
    await write(test.db, names, '100')
    const leaseMs = 400
    const relay = relays.start({
      db,
      limits: { leaseMs },
      publish: async () => {
        pages += 1
        if (pages > 1) return
        renews = false
        await pause(leaseMs * 2)
      },
    })
    await until('its first page is settled', async () => (await unpublished(test.db)).length === 7)
    await pause(leaseMs)
    expect(pages).toBe(1)
    expect(relay.shards()).toEqual([])
    renews = true
    await allPublished(test.db)
    expect(relays.names()).toEqual(names)
    expect(relays.bugs).toEqual([])
  })
})
