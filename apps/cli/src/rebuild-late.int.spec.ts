import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx, readWaiting } from '@likewise/database/testing'
import { deleteSnapshots, listSnapshots, readRebuild, replayRecords } from '@likewise/inbox'
import { applyToProductMetrics } from '@likewise/metrics'
import { pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { type World, broken, emptied, horizon, mendAll, products, same, worldOf } from './rebuild-testing.ts'

let test: TestDatabase
let world: World

beforeAll(async () => {
  test = await freshDatabase('rebuild_late')
})
afterAll(() => test.drop())
beforeEach(async () => {
  await emptied(test.db)
  world = worldOf(test)
})

describe('a snapshot that somebody deletes', () => {
  const about = () => ({ consumer: world.consumer, topic: 'catalog-events' })
  const waiting = async () => (await readWaiting(test.db)).length
  const until = async (holds: () => Promise<boolean>) => {
    for (const end = performance.now() + 20_000; !(await holds()); await pause(20))
      if (performance.now() > end) throw new Error(`Not in time: ${holds.toString()}`)
  }

  beforeEach(async () => {
    for (const product of products) world.send({ product })
    await world.handle()
  })
  afterEach(() => test.db.execute(sql`drop trigger if exists held on metrics.rebuild_ids`))

  it('while it is loaded goes when it is loaded: the rebuild has all of it', async () => {
    const snapshot = await world.snapshot()
    for (const product of products) world.send({ product })
    await world.handle()
    await test.db.execute(sql`
      create or replace function metrics.held() returns trigger language plpgsql as $$
        begin perform pg_advisory_xact_lock(1601); return null; end $$`)
    await test.db.execute(sql`
      create trigger held before insert on metrics.rebuild_ids for each statement execute function metrics.held()`)
    const open = await openTx(test.db)
    await open.tx.query(sql`select pg_advisory_xact_lock(1601)::text as locked`)
    const beginning = world.begin(snapshot)
    await until(async () => (await waiting()) === 1)
    const deleting = deleteSnapshots(test.db, { ...about(), ids: [snapshot] })
    await until(async () => (await waiting()) === 2)
    await open.commit()
    const rebuild = await beginning
    expect(await deleting).toEqual([snapshot])
    expect(await world.compare(rebuild)).toEqual(same)
    expect(await listSnapshots(test.db, about())).toEqual([])
  })

  it('before it is loaded is missed in a sentence, and leaves no rebuild behind', async () => {
    const snapshot = await world.snapshot()
    const open = await openTx(test.db)
    await deleteSnapshots(open.tx, { ...about(), ids: [snapshot] })
    const beginning = world.begin(snapshot).catch((error: unknown) => error)
    await until(async () => (await waiting()) === 1)
    await open.commit()
    expect(await beginning).toMatchObject({
      code: 'NOT_FOUND',
      message: `There is no snapshot ${String(snapshot)} of ${world.consumer}: likewise snapshot list.`,
    })
    expect(await readRebuild(test.db)).toBeNull()
  })
})

describe('a dead letter that comes late', () => {
  const replayAll = (partition: number) =>
    replayRecords(test.db, {
      scope: { consumer: world.consumer, topic: 'catalog-events', partition },
      records: world.log[partition] ?? [],
      ...{ horizon, work: applyToProductMetrics },
    })

  it('for a record that the rebuild has passed as one that nobody can read: redriven, it is counted once (I2, I9)', async () => {
    world.send({ product: 1, change: broken })
    world.send({ product: 2 })
    await world.handle()
    await test.db.execute(sql`delete from metrics.dead_letters`)
    const rebuild = await world.begin()
    await world.step(rebuild)
    expect((await readRebuild(test.db))?.unreadable).toBe(1n)
    expect(await replayAll(1)).toMatchObject({ parked: 1 })
    await mendAll(test.db)
    await world.redrive({ key: '1' })
    expect(await world.count(1)).toBe(1)
    expect(await world.compare(rebuild)).toEqual(same)
    expect(await world.compare(rebuild)).toEqual(same)
    expect(await world.switch(rebuild)).toEqual(same)
    expect(await world.compare(await world.begin())).toEqual(same)
  })

  const parkedAnHourAgo = () =>
    test.db.execute(sql`update metrics.dead_letters set parked_at = parked_at - interval '1 hour'`)

  it('to be redriven, which waited long before the rebuild that has passed it: it is counted once (I2, I9)', async () => {
    world.send({ product: 1, change: broken })
    world.send({ product: 1 })
    await world.handle()
    await parkedAnHourAgo()
    const rebuild = await world.begin()
    await world.step(rebuild)
    await mendAll(test.db)
    await world.redrive({ key: '1' })
    expect(await world.count(1)).toBe(2)
    expect(await world.compare(rebuild)).toEqual(same)
    expect(await world.switch(rebuild)).toEqual(same)
  })

  it('to be redriven, from before the snapshot that the rebuild began with: it is counted once (I2, I9)', async () => {
    world.send({ product: 1, change: broken })
    world.send({ product: 1 })
    world.send({ product: 2, change: broken })
    await world.handle()
    await parkedAnHourAgo()
    const rebuild = await world.begin(await world.snapshot())
    await world.step(rebuild)
    await mendAll(test.db)
    await world.redrive({ key: '1' })
    await world.discard({ key: '2' })
    expect([await world.count(1), await world.count(2)]).toEqual([2, 0])
    expect(await world.compare(rebuild)).toEqual(same)
    expect(await world.switch(rebuild)).toEqual(same)
    expect([await world.count(1), await world.count(2)]).toEqual([2, 0])
  })
})
