import { randomUUID } from 'node:crypto'
import { type Queryable, type Sql, sql } from '@likewise/database'
import {
  type OpenTx,
  type TestDatabase,
  freshDatabase,
  openTx,
  readWaiting,
} from '@likewise/database/testing'
import { shardOf } from '@likewise/events'
import { Failure } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { leaveRelays, releaseLeases } from './lease.ts'
import { readPage } from './page.ts'
import { discard, redrive } from './parked.ts'
import {
  type TestRelays,
  allShards,
  buildRelays,
  intercepting,
  nameOf,
  numbered,
  parkedNames,
  takeAllShards,
  until,
  write,
} from './testing.ts'
import { settle } from './step.ts'
import { type OpenedWindow, nextWindows } from './window.ts'

const key = '100'
const shard = shardOf(key)
const owner = randomUUID()
const limits = { pageRowsMax: 1_000, pageBytesMax: 10_000_000 }
let test: TestDatabase
let epoch: bigint
let relays: TestRelays

beforeEach(async () => {
  test = await freshDatabase('traps')
  relays = buildRelays(test)
  epoch = (await takeAllShards(test.db, owner)).find((lease) => lease.shard === shard)!.epoch
})
afterEach(async () => {
  await relays.stop()
  await test.drop()
})

const open = async (db: Queryable = test.db): Promise<OpenedWindow | undefined> =>
  (await nextWindows(db, owner, [{ shard, epoch }], { rowsMax: 1_000, bytesMax: 10_000_000 }))[0]

/** Relays a page of what is visible now. @returns the names in order. */
async function relayPage(): Promise<string[]> {
  const window = await open()
  if (window === undefined) return []
  const page = await readPage(test.as('likewise_relay'), window, window.afterSeq, limits)
  // What a small window brings along is what its page holds.
  if (window.events !== null) expect(window.events).toEqual(page)
  const settled = await settle(test.as('likewise_relay'), { owner, epoch }, window, {
    afterSeq: BigInt(page.at(-1)?.seq ?? 0),
  })
  expect(settled).not.toBeNull()
  return page.map(nameOf)
}

async function drain(): Promise<string[]> {
  const names: string[] = []
  for (let page = await relayPage(); page.length > 0; page = await relayPage()) names.push(...page)
  return names
}

const cursors = () =>
  test.db.query(sql`
    select n, to_snapshot::text, after_seq, owner::text, epoch from catalog.outbox_cursors
    where shard = ${shard}::smallint order by n`)

describe('a delayed statement of a connection that timed out', () => {
  const newOwner = randomUUID()

  /** Another relay in the middle of its takeover: nobody sees yet that the shard has changed hands. */
  async function takenOver(): Promise<OpenTx & { lease: { shard: number; epoch: bigint } }> {
    const open = await openTx(test.db)
    await open.tx.execute(sql`
      update catalog.outbox_leases set owner = ${newOwner}::uuid, epoch = epoch + 1 where shard = ${shard}::smallint`)
    return { ...open, lease: { shard, epoch: epoch + 1n } }
  }

  const isDelayed = () => until('it waits', async () => (await readWaiting(test.db)).length > 0)

  it('opens no window once another relay has opened and settled it', async () => {
    await write(test.db, ['a', 'b'], key)
    const other = await takenOver()
    const [window] = await nextWindows(other.tx, newOwner, [other.lease])
    await settle(other.tx, { owner: newOwner, epoch: epoch + 1n }, window!, { afterSeq: window!.lastSeq })
    const delayed = open() // begun when the shard was its own, as far as anybody could see
    await isDelayed()
    await other.commit()
    const after = await cursors()
    expect(await delayed).toBeUndefined()
    expect(await cursors()).toEqual(after)
    expect(after.at(-1)).toMatchObject({ owner: newOwner, after_seq: window!.lastSeq })
  })

  it('settles nothing once another relay has moved the cursor', async () => {
    await write(test.db, ['a', 'b', 'c'], key)
    const window = (await open())!
    const other = await takenOver()
    const first = window.afterSeq + 1n
    await settle(other.tx, { owner: newOwner, epoch: epoch + 1n }, window, { afterSeq: first })
    const delayed = settle(test.as('likewise_relay'), { owner, epoch }, window, { afterSeq: window.lastSeq })
    await isDelayed()
    await other.commit()
    const after = await cursors()
    expect(await delayed).toBeNull()
    expect(await cursors()).toEqual(after)
    expect(after.at(-1)).toMatchObject({ owner: newOwner, after_seq: first })
  })

  it('settles nothing when it runs only after the shard has changed hands', async () => {
    await write(test.db, ['a'], key)
    const window = (await open())!
    const other = await takenOver()
    await other.commit()
    const before = await cursors()
    expect(
      await settle(test.as('likewise_relay'), { owner, epoch }, window, { afterSeq: window.lastSeq }),
    ).toBeNull()
    expect(await open()).toBeUndefined()
    expect(await cursors()).toEqual(before)
  })
})

describe('the lowest seq and the snapshot of a window', () => {
  it('come from one statement: a row that commits in the middle of an opening is not passed over (I1)', async () => {
    const late = await openTx(test.db)
    await write(late.tx, ['late'], key)
    await write(test.db, ['early'], key)
    let statements = 0
    const between = intercepting(test.as('likewise_relay'), async (_statement, run) => {
      // Where there is a second statement, the row becomes visible before it.
      if ((statements += 1) === 2) await late.commit()
      return run()
    })
    const window = (await open(between))!
    if (statements === 1) await late.commit()
    const page = await readPage(test.as('likewise_relay'), window, window.afterSeq, limits)
    await settle(test.as('likewise_relay'), { owner, epoch }, window, { afterSeq: window.lastSeq })
    expect([...page.map(nameOf), ...(await drain())].sort()).toEqual(['early', 'late'])
  })

  it('fit together while many writers commit: every row comes once, each writer’s in order (I1, I4)', async () => {
    const over = new AbortController()
    const writers = ['a', 'b', 'c', 'd'].map(async (writer) => {
      const names: string[] = []
      while (!over.signal.aborted) {
        const next = numbered(writer, 2, names.length)
        await test.db.tx((tx) => write(tx, next, key))
        names.push(...next)
      }
      return names
    })
    const relayed: string[] = []
    while (relayed.length < 600) relayed.push(...(await relayPage()))
    over.abort()
    const written = await Promise.all(writers)
    relayed.push(...(await drain()))
    expect(relayed).toHaveLength(written.flat().length)
    for (const names of written)
      expect(relayed.filter((name) => name.startsWith(names[0]!.slice(0, 1)))).toEqual(names)
  })
})

interface Plan {
  'Node Type': string
  'Actual Rows': number
  'Actual Loops': number
  'Rows Removed by Filter'?: number
  'Rows Removed by Index Recheck'?: number
  'Shared Hit Blocks': number
  'Shared Read Blocks': number
  Plans?: Plan[]
}

/** Rows that its scans touched, and blocks that it looked at. */
async function costOf(statement: Sql): Promise<{ rows: number; blocks: number }> {
  const { tx, rollback } = await openTx(test.db)
  const [row] = await tx.query<{ 'QUERY PLAN': [{ Plan: Plan }] }>(
    sql`explain (analyze, buffers, timing off, format json) ${statement}`,
  )
  await rollback()
  const plan = row!['QUERY PLAN'][0].Plan
  const rowsOf = (node: Plan): number => {
    const { 'Rows Removed by Filter': filtered = 0, 'Rows Removed by Index Recheck': rechecked = 0 } = node
    const touched = (node['Actual Rows'] + filtered + rechecked) * node['Actual Loops']
    const below = (node.Plans ?? []).map(rowsOf).reduce((sum, rows) => sum + rows, 0)
    return below + (node['Node Type'].endsWith('Scan') ? touched : 0)
  }
  return { rows: rowsOf(plan), blocks: plan['Shared Hit Blocks'] + plan['Shared Read Blocks'] }
}

/** What `work` asks of the database, and its cost at the moment before it is asked. */
async function costly<T>(
  work: (db: Queryable) => Promise<T>,
): Promise<{ result: T; rows: number; blocks: number }> {
  const total = { rows: 0, blocks: 0 }
  const db = intercepting(test.as('likewise_relay'), async (statement, run) => {
    const { rows, blocks } = await costOf(statement)
    total.rows += rows
    total.blocks += blocks
    return run()
  })
  return { result: await work(db), ...total }
}

describe('one late row, 500,000 rows back', () => {
  it('costs a few rows, to find and to read, in a small window and in a large one', async () => {
    const late = [await openTx(test.db), await openTx(test.db)] as const
    for (const { tx } of late) await write(tx, ['late'], key)
    await test.db.execute(sql`
      insert into catalog.outbox_events (shard, xid, aggregate_type, aggregate_id, event_type, topic, partition_key, payload)
      select ${shard}::smallint, (3 + n / 1000)::text::xid8, 'product', ${key}, 'test.happened.v1', 'test', ${key}, '{}'
      from generate_series(1, 500000) as n`) // as if 500 transactions had written them
    const window = (await open())!
    expect(window.rowCount).toBe(500_000n)
    await settle(test.as('likewise_relay'), { owner, epoch }, window, { afterSeq: window.lastSeq })
    await test.db.execute(sql`analyze catalog.outbox_events`)

    for (const [i, { commit }] of late.entries()) {
      await commit()
      const fresh = i === 0 ? 3 : 2_000
      await write(test.db, ['fresh'], key)
      await test.db.execute(sql`
        insert into catalog.outbox_events (shard, aggregate_type, aggregate_id, event_type, topic, partition_key, payload)
        select ${shard}::smallint, 'product', ${key}, 'test.happened.v1', 'test', ${key}, '{"name":"fresh"}'
        from generate_series(2, ${fresh}::int)`)
      const opening = await costly(open)
      expect(opening.result!.rowCount).toBe(BigInt(fresh + 1))
      const reading = await costly((db) =>
        readPage(db, opening.result!, opening.result!.afterSeq, { ...limits, pageRowsMax: 100 }),
      )
      expect(reading.result.slice(0, 2).map(nameOf)).toEqual(['late', 'fresh'])
      // A walk from the late row's seq would touch 500,000 rows, in some 10,000 blocks.
      expect(opening.rows + reading.rows).toBeLessThan(3 * fresh + 1_000)
      expect(opening.blocks + reading.blocks).toBeLessThan(fresh + 1_500)
      await settle(test.as('likewise_relay'), { owner, epoch }, opening.result!, {
        afterSeq: opening.result!.lastSeq,
      })
    }
    expect(await drain()).toEqual([])
  }, 120_000)

  // The statistics then say that any xid is that of the import, and the search for late rows reads the whole slot.
  it('is cheap to look for where there is none, after an import of 500,000 rows in one go', async () => {
    await test.db.execute(sql`
      insert into catalog.outbox_events (shard, aggregate_type, aggregate_id, event_type, topic, partition_key, payload)
      select ${shard}::smallint, 'product', ${key}, 'test.happened.v1', 'test', ${key}, '{}'
      from generate_series(1, 500000)`)
    const window = (await open())!
    await settle(test.as('likewise_relay'), { owner, epoch }, window, { afterSeq: window.lastSeq })
    await test.db.execute(sql`analyze catalog.outbox_events`)
    const idle = await costly(open)
    expect(idle.result).toBeUndefined()
    expect(idle.rows).toBeLessThan(1_000)
    expect(idle.blocks).toBeLessThan(500)
  }, 120_000)
})

describe('an own uncommitted xid counts as visible in an own snapshot', () => {
  it('so a relay opens and settles outside of transactions, and never enqueues, whatever it does', async () => {
    // The trap: what is written here and rolled back lies within the snapshot, for ever.
    const { tx, rollback } = await openTx(test.db)
    await write(tx, ['own'], key)
    await write(test.db, ['of another'], key)
    const [own] = await tx.query<{ seen: boolean }>(
      sql`select pg_visible_in_snapshot(pg_current_xact_id(), pg_current_snapshot()) as seen`,
    )
    expect(own?.seen).toBe(true)
    await rollback()

    const statements: string[] = []
    let transactions = 0
    const watched = intercepting(test.as('likewise_relay'), async (statement, run) => {
      statements.push(statement.sql)
      return run()
    })
    const db = { ...watched, tx: () => Promise.reject(new Error(`transaction ${(transactions += 1)}`)) }
    await releaseLeases(test.as('likewise_relay'), owner, allShards)
    await leaveRelays(test.as('likewise_relay'), owner)
    let refused = new Set(['r1', 's1'])
    const relay = relays.start({
      db,
      publish: async (events) => {
        if (events.some((event) => refused.has(nameOf(event))))
          throw new Failure('EVENT_REFUSED', 'too large')
      },
    })
    await write(test.db, ['a1', 'r1', 'r2', 's1', 's2'])
    await until('they are parked', async () => (await parkedNames(test.db)).length === 4)
    refused = new Set()
    await redrive(test.as('likewise_operator'), { selection: { partitionKey: 'r' }, actor: 'test' })
    await discard(test.as('likewise_operator'), { selection: { partitionKey: 's' }, actor: 'test' })
    await until('they have moved', async () => (await parkedNames(test.db)).length === 0)
    await write(test.db, ['a2'])
    await until('the next one came', () => relays.names().includes('a2'))
    await relay.stop()
    expect(relays.bugs).toEqual([])
    expect(relays.names('r')).toEqual(['r1', 'r2'])
    expect(transactions).toBe(0)
    expect(statements.some((text) => text.includes('insert into catalog.outbox_cursors'))).toBe(true)
    expect(
      statements.filter((text) => /(insert into|update|delete from) catalog\.outbox_events/.test(text)),
    ).toEqual([])
  })
})
