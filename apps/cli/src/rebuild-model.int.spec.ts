import { type Database, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import {
  type InboxRecord,
  type LogPiece,
  type Rebuild,
  entryOf,
  readRebuild,
  stepRebuild,
} from '@likewise/inbox'
import { rollUp } from '@likewise/metrics'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import {
  type World,
  broken,
  emptied,
  idAt,
  mendAll,
  model,
  products,
  same,
  worldOf,
} from './rebuild-testing.ts'

const dayMs = 86_400_000
let test: TestDatabase
let world: World

beforeAll(async () => {
  test = await freshDatabase('rebuild_model')
})
afterAll(() => test.drop())
beforeEach(async () => {
  await emptied(test.db)
  world = worldOf(test)
})

const idOf = ({ headers }: InboxRecord): string => String(headers['ce_id'])

const ids = async () =>
  (
    await test.db.query<{ id: string }>(
      sql`select event_id::text as id from metrics.event_handled where consumer = ${world.consumer}`,
    )
  ).map(({ id }) => id)

const letters = async () =>
  test.db.query<{ partition: number; offset: number; resolution: string | null; id: string | null }>(sql`
    select partition, record_offset::float8 as "offset", resolution, event_id::text as id from metrics.dead_letters
    where consumer = ${world.consumer} order by partition, record_offset`)

describe('a step of a rebuild', () => {
  const piece = (from: number, to: number): LogPiece => {
    const records = world.log[1] ?? []
    return { partition: 1, from: BigInt(from), entries: records.slice(from, to).map(entryOf) }
  }
  const counted = async () => (await readRebuild(test.as('likewise_operator')))?.counted

  it('whose commit came through without an answer is passed over when it is tried again', async () => {
    for (let i = 0; i < 4; i += 1) world.send({ product: 1 })
    await world.handle()
    const rebuild = await world.begin()
    for (let i = 0; i < 2; i += 1)
      await stepRebuild(test.as('likewise_operator'), rebuild, { pieces: [piece(0, 2)], model })
    expect(await counted()).toBe(2n)
    await stepRebuild(test.as('likewise_operator'), rebuild, { pieces: [piece(2, 4)], model })
    expect(await counted()).toBe(4n)
  })

  it('is refused where the database has lost the ones before it: they would be missing from the model', async () => {
    for (let i = 0; i < 6; i += 1) world.send({ product: 1 })
    await world.handle()
    const rebuild = await world.begin()
    await stepRebuild(test.as('likewise_operator'), rebuild, { pieces: [piece(0, 2)], model })
    await expect(
      stepRebuild(test.as('likewise_operator'), rebuild, { pieces: [piece(4, 6)], model }),
    ).rejects.toThrow('the database has lost its last steps')
    expect(await counted()).toBe(2n)
  })
})

describe('a rebuilt model', () => {
  it('counts what the log holds: each event once, with the minutes, hours and days it happened in', async () => {
    const now = Date.now()
    for (const atMs of [now, now - 5 * dayMs, now - 200 * dayMs]) world.send({ product: 1, atMs })
    const again = world.send({ product: 2 })
    world.log[0]?.push({ ...again, offset: 1n })
    world.send({ product: 1, liked: false })
    await world.handle()
    const rebuild = await world.begin()
    expect(await world.compare(rebuild)).toEqual(same)
    const rows = await test.db.query<{ n: number[] }>(sql`
      select array[(select count(*) from metrics.rebuild_minutes), (select count(*) from metrics.rebuild_hours),
        (select count(*) from metrics.rebuild_days)]::int[] as n`)
    // the two of now may lie in two minutes
    expect(rows[0]?.n.slice(1)).toEqual([1, 1])
  })

  it('says what differs, product by product and bucket by bucket, and puts it right when switched', async () => {
    for (const product of [1, 1, 2, 3]) world.send({ product, atMs: Date.parse('2026-11-20T10:11:12Z') })
    await world.handle()
    await test.db.execute(sql`update metrics.product_metrics set like_count = 5 where product_id = 1`)
    await test.db.execute(sql`delete from metrics.product_metrics where product_id = 2`)
    await test.db.execute(sql`delete from metrics.product_like_windows where product_id = 3`)
    await test.db.execute(
      sql`insert into metrics.product_metrics (product_id, like_count) values (9, 1), (8, 0)`,
    )
    const rebuild = await world.begin()
    const differences = {
      products: 3,
      buckets: 1,
      counts: [
        { productId: 1n, live: 5n, rebuilt: 2n },
        { productId: 2n, live: 0n, rebuilt: 1n },
        { productId: 9n, live: 1n, rebuilt: 0n },
      ],
      windows: [
        {
          productId: 3n,
          from: expect.any(Date),
          resolution: expect.stringMatching(/minute|hour/),
          live: { added: 0n, removed: 0n },
          rebuilt: { added: 1n, removed: 0n },
        },
      ],
    }
    expect(await world.compare(rebuild)).toEqual(differences)
    expect(await world.count(1)).toBe(5)
    expect(await world.switch(rebuild)).toEqual(differences)
    expect([await world.count(1), await world.count(2), await world.count(3), await world.count(9)]).toEqual([
      2, 1, 1, 0,
    ])
    expect(await world.compare(await world.begin())).toEqual(same)
  })

  it('does not take minutes that were rolled up meanwhile for a difference, and leaves a valid mixture', async () => {
    const atMs = Date.now() - 5 * dayMs
    world.send({ product: 1, atMs })
    await world.handle()
    const rebuild = await world.begin()
    expect(await world.compare(rebuild)).toEqual(same)
    await rollUp(test.as('likewise_consumer'), { minutesKeptHours: 48, hoursKeptDays: 90 })
    expect(await world.compare(rebuild)).toEqual(same)
    await rollUp(test.as('likewise_consumer'), { minutesKeptHours: 48, hoursKeptDays: 2 })
    expect(await world.compare(rebuild)).toEqual(same)
    world.send({ product: 1, atMs })
    await world.handle()
    await test.db.execute(sql`update metrics.product_like_windows set added = 7`)
    await world.switch(rebuild)
    const [row] = await test.db.query<{ added: number }>(sql`
      select sum(added)::int as added from (select added from metrics.product_like_windows union all
        select added from metrics.product_like_hours union all select added from metrics.product_like_days) as all_of_it`)
    expect(row?.added).toBe(2)
  })
})

describe('parked events', () => {
  it('are not counted while they wait, are when they were redriven, before or during the rebuild, and never when discarded', async () => {
    for (const product of [1, 2, 3]) {
      world.send({ product, change: broken })
      world.send({ product })
    }
    world.send({ product: 4 })
    await world.handle()
    await mendAll(test.db)
    await world.redrive({ key: '1' })
    const rebuild = await world.begin()
    await world.step(rebuild)
    expect(await world.compare(rebuild)).toEqual(same)
    await world.redrive({ key: '2' })
    await world.discard({ key: '3' })
    expect(await world.compare(rebuild)).toEqual(same)
    expect(await world.switch(rebuild)).toEqual(same)
    expect([await world.count(1), await world.count(2), await world.count(3), await world.count(4)]).toEqual([
      2, 2, 0, 1,
    ])
  })

  it('that wait can be redriven after the switch, once, also where their ids were remembered', async () => {
    world.send({ product: 1, change: broken })
    const behind = world.send({ product: 1 })
    await world.handle()
    // as an older version left it that parked what had had its effect
    await test.db.execute(sql`
      insert into metrics.event_handled values (${world.consumer}, ${idOf(behind)}::uuid,
        metrics.handled_slot(${idOf(behind)}::uuid), 'catalog.like.added.v1', 'product', '1')`)
    const rebuild = await world.begin()
    expect(await world.switch(rebuild)).toEqual(same)
    await mendAll(test.db)
    await world.redrive({ key: '1' })
    expect(await world.count(1)).toBe(2)
    expect(await world.compare(await world.begin())).toEqual(same)
  })

  it('without a usable id, or too old, count once when they were forced, also in a second rebuild', async () => {
    world.send({ product: 1, change: { headers: { ...world.send({ product: 1 }).headers, ce_id: 'none' } } })
    world.send({ product: 1, id: idAt(Date.now() - 40 * dayMs) })
    await world.handle()
    await world.redrive({ key: '1' }, true)
    expect(await world.count(1)).toBe(3)
    expect(await world.switch(await world.begin())).toEqual(same)
    expect(await world.compare(await world.begin())).toEqual(same)
  })

  it('that were discarded take no copy with them that came before, and every one that comes after (I2)', async () => {
    const first = world.send({ product: 1 })
    world.send({ product: 1, change: broken })
    const behind = world.send({ product: 1 })
    const copy = (record: InboxRecord) =>
      world.log[1]?.push({ ...record, offset: BigInt(world.log[1].length), timeMs: Date.now() })
    copy(first)
    await world.handle()
    const rebuild = await world.begin()
    await world.step(rebuild)
    await world.discard({ key: '1' })
    copy(behind)
    copy(first)
    await world.handle()
    expect(await world.count(1)).toBe(1)
    expect(await world.compare(rebuild)).toEqual(same)
    expect(await world.switch(rebuild)).toEqual(same)
    expect(await world.compare(await world.begin())).toEqual(same)
  })
})

describe('the records of dead letters', () => {
  /** The same database, and the most bytes of values that one of its statements has brought. */
  function measured(db: Database): { db: Database; mostBytes: () => number } {
    let most = 0
    const tx: Database['tx'] = (work, options) =>
      db.tx(async (own) => {
        const query: Database['query'] = async <T>(statement: Parameters<Database['query']>[0]) => {
          const rows = await own.query<T>(statement)
          const sizes = rows.map((row) => (row as { value?: Uint8Array | null }).value?.length ?? 0)
          most = Math.max(most, sizes.reduce((sum, size) => sum + size, 0)) // prettier-ignore
          return rows
        }
        return work({ ...own, query })
      }, options)
    return { db: { ...db, tx }, mostBytes: () => most }
  }

  it('are read by a few megabytes at a time, however many lie where a step counts', async () => {
    const bytes = 900_000
    const { db, mostBytes } = measured(test.as('likewise_operator'))
    world = worldOf({ ...test, as: (role) => (role === 'likewise_operator' ? db : test.as(role)) })
    world.send({ product: 1, change: broken })
    for (let i = 0; i < 6; i += 1) {
      const value = `{"userId":${String(i + 1)},"productId":1,"createdAt":"2026-11-22T09:14:05Z","note":"${'n'.repeat(bytes)}"}`
      world.send({ product: 1, change: { value: Buffer.from(value) } })
    }
    await world.handle()
    await mendAll(test.db)
    await world.redrive({ key: '1' })
    const rebuild = await world.begin()
    await world.step(rebuild)
    expect([mostBytes() > bytes, mostBytes() <= 4_000_000]).toEqual([true, true])
    expect((await readRebuild(test.db))?.counted).toBe(7n)
    expect(await world.compare(rebuild)).toEqual(same)
  })
})

describe('after a switch', () => {
  it('a copy of any event that is counted has no effect, though its id had been lost (I2)', async () => {
    const records = products.map((product) => world.send({ product }))
    await world.handle()
    await test.db.execute(sql`truncate metrics.event_handled, metrics.product_metrics`)
    const rebuild = await world.begin()
    await world.step(rebuild, 1)
    expect(await world.switch(rebuild)).toMatchObject({ products: 4 })
    expect((await ids()).toSorted()).toEqual(records.map(idOf).toSorted())
    for (const record of records) {
      const partition = world.log[Number(record.key) % 2] ?? []
      partition.push({ ...record, offset: BigInt(partition.length) })
    }
    await world.handle()
    expect(await Promise.all(products.map((product) => world.count(product)))).toEqual([1, 1, 1, 1])
    const [audit] = await test.db.query(sql`select actor, action, consumer from metrics.inbox_audit`)
    expect(audit).toEqual({ actor: 'test', action: 'rebuild', consumer: world.consumer })
  })
})

describe('a snapshot', () => {
  it('with what came after it makes the same model as all from the beginning; copies of what came before have no effect (I2)', async () => {
    const before = products.map((product) => world.send({ product, atMs: Date.now() - 3 * dayMs }))
    world.send({ product: 1, change: broken })
    world.send({ product: 1 })
    await world.handle()
    await rollUp(test.as('likewise_consumer'), { minutesKeptHours: 48, hoursKeptDays: 90 })
    const snapshot = await world.snapshot()
    for (const record of before) {
      const partition = world.log[Number(record.key) % 2] ?? []
      partition.push({ ...record, offset: BigInt(partition.length) })
    }
    for (const product of products) world.send({ product })
    await world.handle()
    await mendAll(test.db)
    await world.redrive({ key: '1' })
    const rebuild = await world.begin(snapshot)
    expect(await world.compare(rebuild)).toEqual(same)
    await test.db.execute(
      sql`truncate metrics.event_handled, metrics.product_metrics, metrics.product_like_hours`,
    )
    await world.switch(rebuild)
    expect(await Promise.all(products.map((product) => world.count(product)))).toEqual([4, 2, 2, 2])
    const records = [...before, ...(world.log[0] ?? [])]
    for (const record of records) {
      const partition = world.log[Number(record.key) % 2] ?? []
      partition.push({ ...record, offset: BigInt(partition.length) })
    }
    await world.handle()
    expect(await Promise.all(products.map((product) => world.count(product)))).toEqual([4, 2, 2, 2])
  })
})

describe('whatever the history', () => {
  const product = fc.constantFrom(...products)
  const op = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        do: fc.constant('send' as const),
        product,
        liked: fc.boolean(),
        ageMs: fc.oneof(fc.nat(5 * 60_000), fc.nat(4 * dayMs), fc.nat(200 * dayMs)),
      }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('copy' as const), which: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('broken' as const), product }) },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant('odd' as const),
        product,
        kind: fc.constantFrom('old', 'none'),
      }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('handle' as const), upTo: fc.option(fc.nat(30)) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('redrive' as const),
        product,
        force: fc.boolean(),
        mends: fc.boolean(),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('discard' as const), product }) },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant('step' as const), count: fc.integer({ min: 1, max: 5 }) }),
    },
    { weight: 1, arbitrary: fc.constant({ do: 'roll up' as const }) },
    { weight: 1, arbitrary: fc.constant({ do: 'snapshot' as const }) },
  )

  async function play(
    ops: readonly (typeof op extends fc.Arbitrary<infer O> ? O : never)[],
  ): Promise<Rebuild> {
    let rebuild: Rebuild | undefined
    let snapshot: bigint | undefined
    const sent: InboxRecord[] = []
    const nothingThere = () => undefined
    for (const one of ops) {
      if (one.do === 'send') sent.push(world.send({ ...one, atMs: Date.now() - one.ageMs }))
      else if (one.do === 'copy') {
        const record = sent[one.which % Math.max(1, sent.length)]
        const partition = record && world.log[Number(record.key) % 2]
        if (partition) partition.push({ ...record, offset: BigInt(partition.length), timeMs: Date.now() })
      } else if (one.do === 'broken') world.send({ product: one.product, change: broken })
      else if (one.do === 'odd') {
        if (one.kind === 'old') world.send({ product: one.product, id: idAt(Date.now() - 40 * dayMs) })
        else
          world.send({
            product: one.product,
            change: { headers: { ...headersOf(one.product), ce_id: 'none' } },
          })
      } else if (one.do === 'handle') await world.handle(one.upTo ?? undefined)
      else if (one.do === 'redrive') {
        if (one.mends) await mendAll(test.db)
        await world.redrive({ key: String(one.product) }, one.force).catch(nothingThere)
      } else if (one.do === 'discard') await world.discard({ key: String(one.product) }).catch(nothingThere)
      else if (one.do === 'step') {
        rebuild ??= await world.begin(snapshot)
        await world.step(rebuild, one.count)
      } else if (one.do === 'roll up')
        await rollUp(test.as('likewise_consumer'), { minutesKeptHours: 48, hoursKeptDays: 90 })
      else if ((world.log[0]?.length ?? 0) + (world.log[1]?.length ?? 0) > 0) {
        await world.handle()
        snapshot = await world.snapshot()
      }
    }
    return rebuild ?? world.begin(snapshot)
  }

  const headersOf = (of: number) => {
    const probe = worldOf(test)
    return probe.send({ product: of }).headers
  }

  /** By the log and the letters alone: an event counts if a copy of it was handled, or redriven. Given up: nobody's. */
  async function recount(): Promise<{ counts: Map<number, number>; unclear: Set<number> }> {
    const placed = new Map(
      (await letters()).map((one) => [`${String(one.partition)}@${String(one.offset)}`, one]),
    )
    const seen = new Set<string>()
    const counts = new Map<number, number>(products.map((one) => [one, 0]))
    const unclear = new Set<number>()
    for (const [partition, records] of world.log.entries()) {
      for (const record of records) {
        const product = Number(record.key)
        const letter = placed.get(`${String(partition)}@${String(record.offset)}`)
        if (letter?.resolution === 'discarded') unclear.add(product)
        if (letter && letter.resolution !== 'redriven') continue
        const id = idOf(record) === 'none' ? `${String(partition)}@${String(record.offset)}` : idOf(record)
        if (seen.has(id)) continue
        seen.add(id)
        counts.set(
          product,
          (counts.get(product) ?? 0) + (String(record.headers['ce_type']).includes('added') ? 1 : -1),
        )
      }
    }
    return { counts, unclear }
  }

  it('with copies, late, parked, redriven, forced and discarded events, the rebuilt model is the recount of the log (I2)', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(op, { minLength: 5, maxLength: 40 }), async (ops) => {
        await emptied(test.db)
        world = worldOf(test)
        const rebuild = await play(ops)
        await world.handle()
        const { counts, unclear } = await recount()
        expect(await world.compare(rebuild)).toEqual(same)
        await test.db.execute(sql`
          update metrics.product_metrics set like_count = like_count + 1 + product_id where product_id < 3`)
        await test.db.execute(sql`update metrics.product_like_windows set removed = removed + 1`)
        await world.switch(rebuild)
        for (const one of products)
          if (!unclear.has(one)) expect([one, await world.count(one)]).toEqual([one, counts.get(one)])
        // what it knows by its ids: everything once more
        for (const partition of world.log)
          for (const record of partition.slice())
            partition.push({ ...record, offset: BigInt(partition.length), timeMs: Date.now() })
        const before = await Promise.all(products.map((one) => world.count(one)))
        await world.handle()
        expect(await Promise.all(products.map((one) => world.count(one)))).toEqual(before)
        expect(await world.compare(await world.begin())).toEqual(same)
      }),
      { numRuns: 60, interruptAfterTimeLimit: 60_000 },
    )
  }, 120_000)
})
