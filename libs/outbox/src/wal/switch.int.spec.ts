import { randomUUID } from 'node:crypto'
import { type Database, connectDatabase, sql } from '@likewise/database'
import { openTx } from '@likewise/database/testing'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import { allShards, takeAllShards, until, write } from '../testing.ts'
import { settle } from '../step.ts'
import { nextWindows } from '../window.ts'
import { stepCursorsTo, takeMark } from './progress.ts'
import { readMode, readWalHealth, requireSlot } from './slot.ts'
import { disableWal, enableWal } from './switch.ts'
import { type WalTest, enabled, publishAll, walDatabase } from './testing.ts'

let test: WalTest
let server: Database

beforeAll(async () => {
  test = await walDatabase('wal_switch')
  server = connectDatabase({
    url: process.env['CATALOG_DATABASE_URL']!,
    poolSizeMax: 1,
    connectTimeoutMs: 5_000,
    statementTimeoutMs: 30_000,
    applicationName: 'test',
  })
})
afterAll(async () => {
  await server.stop()
  await test.drop()
})
afterEach(async () => {
  await disableWal(test.switch)
  await test.db.execute(sql`truncate catalog.outbox_events`)
})

const state = async () => {
  const { mode, slot, publicationOk } = await readWalHealth(test.db, test.slot)
  return { mode, slot: slot !== null, publicationOk }
}
const polling = { mode: 'poll', slot: false, publicationOk: false }
const streaming = { mode: 'wal', slot: true, publicationOk: true }

describe('enable and disable', () => {
  it('change the mode and make and remove slot and publication; said twice, they change nothing', async () => {
    await publishAll(test)
    expect(await enableWal(test.switch)).toBe(true)
    expect(await state()).toEqual(streaming)
    expect(await enableWal(test.switch)).toBe(false)
    expect(await disableWal(test.switch)).toBe(true)
    expect(await state()).toEqual(polling)
    expect(await disableWal(test.switch)).toBe(false)
  })

  it('wait for each other', async () => {
    await publishAll(test)
    const both = await Promise.all([enableWal(test.switch), enableWal(test.switch)])
    expect(both.sort()).toEqual([false, true])
    await Promise.all([disableWal(test.switch), disableWal(test.switch)])
    expect(await state()).toEqual(polling)
  })

  it('find a slot that a killed run has left, and make or remove it', async () => {
    const leave = () =>
      test.db.query(sql`select pg_create_logical_replication_slot(${test.slot}, 'pgoutput')::text`)
    await publishAll(test)
    await leave()
    const before = (await readWalHealth(test.db, test.slot)).slot
    await write(test.db, ['between'])
    await publishAll(test)
    expect(await enableWal(test.switch)).toBe(true)
    const after = (await readWalHealth(test.db, test.slot)).slot
    expect(after!.confirmedFlushLsn).toBeGreaterThan(before!.confirmedFlushLsn!)
    await test.db.execute(sql`update catalog.outbox_meta set mode = 'poll'`) // killed in the middle of disable
    expect(await disableWal(test.switch)).toBe(true)
    expect(await state()).toEqual(polling)
  })
})

describe('enable', () => {
  it('changes nothing while events from before the slot are unpublished, and leaves nothing behind', async () => {
    await publishAll(test)
    await write(test.db, ['waiting'])
    await expect(enableWal({ ...test.switch, patienceMs: 3_000 })).rejects.toMatchObject({
      code: 'DATABASE_BUSY',
      message: expect.stringContaining('not published the backlog'),
    })
    expect(await state()).toMatchObject({ mode: 'poll', slot: false })
  })

  it('waits for polling to get there, row by row', async () => {
    await publishAll(test)
    const owner = randomUUID()
    const leases = await takeAllShards(test.db, owner)
    await write(test.db, ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'])
    const enabling = enableWal(test.switch)
    await until('the slot is there', async () => (await state()).slot)
    const windows = await nextWindows(test.as('likewise_relay'), owner, leases)
    for (const window of windows) {
      expect(await readMode(test.db)).toBe('poll')
      const { epoch } = leases.find(({ shard }) => shard === window.shard)!
      await settle(test.as('likewise_relay'), { owner, epoch }, window, { afterSeq: window.lastSeq })
    }
    expect(await enabling).toBe(true)
  })

  it('waits for transactions that are writing, and says so when they take too long', async () => {
    await publishAll(test)
    const open = await openTx(test.db)
    await write(open.tx, ['slow'])
    await expect(enableWal({ ...test.switch, patienceMs: 800 })).rejects.toMatchObject({
      code: 'DATABASE_BUSY',
      message: expect.stringContaining('pg_stat_activity'),
    })
    expect(await state()).toMatchObject({ mode: 'poll', slot: false })
    await open.rollback()
    expect(await enableWal(test.switch)).toBe(true)
  })

  it('refuses a slot of another database, and leaves it alone', async () => {
    await server.query(sql`select pg_create_logical_replication_slot(${test.slot}, 'pgoutput')::text`)
    try {
      await expect(enableWal(test.switch)).rejects.toMatchObject({
        code: 'SLOT_UNUSABLE',
        message: expect.stringMatching(/somebody else's \(database likewise, plugin pgoutput\)/),
      })
      await disableWal(test.switch)
      expect((await state()).slot).toBe(true)
    } finally {
      await server.query(sql`select pg_drop_replication_slot(${test.slot})::text`)
    }
  })
})

describe('a slot that must not be read', () => {
  const refused = (why: RegExp) =>
    expect(requireSlot(test.db, test.slot)).rejects.toMatchObject({
      code: 'SLOT_UNUSABLE',
      message: expect.stringMatching(why),
    })

  it('was dropped', async () => {
    await enabled(test)
    await test.db.query(sql`select pg_drop_replication_slot(${test.slot})::text`)
    await refused(/does not exist.*likewise outbox wal disable/)
    expect(await disableWal(test.switch)).toBe(true)
    await expect(requireSlot(test.db, test.slot)).resolves.toMatchObject({ mode: 'poll' })
  })

  it('was made anew by hand', async () => {
    await enabled(test)
    await test.db.query(sql`select pg_drop_replication_slot(${test.slot})::text`)
    await write(test.db, ['would be lost'])
    await test.db.query(sql`select pg_create_logical_replication_slot(${test.slot}, 'pgoutput')::text`)
    await refused(/made anew by hand/)
  })

  it('was moved forward by hand', async () => {
    await enabled(test)
    await write(test.db, ['would be lost'])
    await test.db.query(sql`select pg_replication_slot_advance(${test.slot}, pg_current_wal_lsn())::text`)
    await refused(/moved forward/)
  })

  it('has lost its publication, or has one that leaves something out', async () => {
    await enabled(test)
    await test.db.execute(sql`alter publication likewise_outbox set (publish_via_partition_root = false)`)
    await refused(/publication likewise_outbox/)
    await test.db.execute(sql`drop publication likewise_outbox`)
    await refused(/publication likewise_outbox/)
    expect(await takeMark(test.db)).toBeNull()
  })
})

describe('the step of all cursors', () => {
  const owner = randomUUID()
  const cursors = () =>
    test.db.query<{ shard: number; n: bigint; to: string; done: boolean }>(sql`
      select distinct on (shard) shard::int as shard, n, to_snapshot::text as "to", after_seq >= last_seq as done
      from catalog.outbox_cursors order by shard, n desc`)
  const status = async () =>
    (await test.db.query(sql`select from catalog.outbox_status where status <> 'PUBLISHED'`)).length

  it('takes them to the snapshot, also out of a window that a poll relay left unfinished', async () => {
    await enabled(test)
    const leases = await takeAllShards(test.db, owner)
    await write(test.db, ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'])
    const left = await nextWindows(test.as('likewise_relay'), owner, leases)
    expect(left.length).toBeGreaterThan(0)
    const mark = await takeMark(test.db)
    expect(await stepCursorsTo(test.db, owner, leases, mark!.snapshot)).toEqual(allShards)
    expect((await cursors()).every(({ to, done }) => to === mark!.snapshot && done)).toBe(true)
    expect(await status()).toBe(0)
    const { epoch } = leases.find(({ shard }) => shard === left[0]!.shard)!
    expect(
      await settle(test.as('likewise_relay'), { owner, epoch }, left[0]!, { afterSeq: left[0]!.lastSeq }),
    ).toBeNull()
    expect(await nextWindows(test.as('likewise_relay'), owner, leases)).toEqual([])
  })

  it('is refused to another owner, another epoch, without a lease, and while the outbox is polled', async () => {
    await enabled(test)
    const leases = await takeAllShards(test.db, owner)
    const { snapshot } = (await takeMark(test.db))!
    expect(await stepCursorsTo(test.db, randomUUID(), leases, snapshot)).toEqual([])
    const later = leases.map(({ shard, epoch }) => ({ shard, epoch: epoch + (shard < 4 ? 1n : 0n) }))
    expect(await stepCursorsTo(test.db, owner, later, snapshot)).toEqual(allShards.slice(4))
    expect(await stepCursorsTo(test.db, owner, leases.slice(0, 2), snapshot)).toHaveLength(2)
    await disableWal(test.switch)
    expect(await stepCursorsTo(test.db, owner, leases, (await snapshotNow())!)).toEqual([])
  })

  it('never goes back: a delayed copy does nothing', async () => {
    await enabled(test)
    const leases = await takeAllShards(test.db, owner)
    const open = await openTx(test.db)
    await write(open.tx, ['open'])
    const old = (await takeMark(test.db))!
    await open.commit()
    await write(test.db, ['later'])
    const fresh = (await takeMark(test.db))!
    expect(await stepCursorsTo(test.db, owner, leases, fresh.snapshot)).toEqual(allShards)
    const before = await cursors()
    expect(await stepCursorsTo(test.db, owner, leases, old.snapshot)).toEqual([])
    expect(await cursors()).toEqual(before)
  })

  it('keeps the log of a shard short', async () => {
    await enabled(test)
    const leases = await takeAllShards(test.db, owner)
    for (let i = 0; i < 60; i += 1) {
      expect(await stepCursorsTo(test.db, owner, leases, (await takeMark(test.db))!.snapshot)).toEqual(
        allShards,
      )
    }
    const rows = await test.db.query(sql`select from catalog.outbox_cursors where shard = 3`)
    expect(rows.length).toBeLessThan(55)
  })

  const snapshotNow = async () =>
    (await test.db.query<{ s: string }>(sql`select pg_current_snapshot()::text as s`))[0]?.s
})
