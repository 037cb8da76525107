import { sql } from '@likewise/database'
import { discard, redrive } from '@likewise/inbox'
import { applyToProductMetrics } from '@likewise/metrics'
import { discard as discardParked, enqueue, redrive as redriveParked } from '@likewise/outbox'
import { pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals'
import { horizon, idAt } from './rebuild-testing.ts'
import { explain } from './verify-explain.ts'
import { readFacts } from './verify-facts.ts'
import { atOneMoment } from './verify-moment.ts'
import { repairProducts } from './verify-repair.ts'
import { type VerifyWorld, exhaust, openWorld } from './verify-testing.ts'

// See libs/kafka/src/subscriber.int.spec.ts: kafkajs may wedge in silence while it joins a group.
jest.retryTimes(2, { logErrorsBeforeRetry: true })
jest.setTimeout(120_000)

const dayMs = 86_400_000
let world: VerifyWorld

beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.stop())

const likes = (users: number, products: number) =>
  Array.from({ length: users * products }, (_, i) => ({
    ...{ user: 1 + Math.floor(i / products), product: 1 + (i % products), liked: true },
  }))

/** Likes of twenty products by five users each, counted. */
async function counted(): Promise<void> {
  await world.change(likes(5, 20))
  world.startRelay()
  world.startConsumer()
  await world.handled(100)
}

/** The event of user 1 about a product. */
async function eventOf(product: number): Promise<string> {
  const [row] = await world.catalog.query<{ id: string }>(sql`
    select id::text as id from catalog.outbox_events
    where partition_key = ${String(product)} and payload->>'userId' = '1' order by seq limit 1`)
  return row?.id ?? ''
}

const countOf = async (product: number): Promise<number> => {
  const [row] = await world.metrics.query<{ n: number }>(sql`
    select like_count::float8 as n from metrics.product_metrics where product_id = ${product}::bigint`)
  return row?.n ?? Number.NaN
}

const minutesOf = async (product: number): Promise<number> => {
  const [row] = await world.metrics.query<{ n: number }>(sql`
    select sum(added - removed)::float8 as n from metrics.product_like_windows where product_id = ${product}::bigint`)
  return row?.n ?? Number.NaN
}

const forget = (id: string) =>
  world.metrics.execute(sql`delete from metrics.event_handled where event_id = ${id}::uuid`)

/** As a consumer would that asks nobody whether it had the event before. */
async function applyAgain(product: number, times: 1 | -1 = 1): Promise<void> {
  const id = await eventOf(product)
  const [row] = await world.catalog.query<{ data: { userId: number; productId: number; createdAt: string } }>(
    sql`select payload as data from catalog.outbox_events where id = ${id}::uuid`,
  )
  const type = times === 1 ? 'catalog.like.added.v1' : 'catalog.like.removed.v1'
  const event = { id, type, source: '/test', time: row!.data.createdAt, data: row!.data } as const
  await world.metrics.tx((tx) => applyToProductMetrics(tx, [event]))
}

/** What is found, by product. */
async function found(...words: string[]) {
  const answer = await world.verifyJson(...words)
  return new Map(
    answer.found.map(({ productId, findings }) => [
      productId,
      findings.map(({ count: _count, ...one }) => one),
    ]),
  )
}

describe('likewise verify', () => {
  it('says that all counts are right, with 0', async () => {
    await counted()
    await world.change([{ user: 1, product: 1, liked: false }])
    await world.handled(101)
    const { text, code } = await world.verify()
    expect(text).toMatch(
      /^Every count of test-.* is the number of its likes: 20 products with 99 likes, as of /,
    )
    expect(code).toBe(0)
    expect(await world.verifyJson()).toMatchObject({ outcome: 'equal', products: 20, likes: 99, found: [] })
  })

  it('says with 2 what it waits for, and tells once that is there', async () => {
    await world.like(1, 1)
    expect(await world.verify('--wait', '1')).toEqual({
      text: 'Cannot tell: The relays have not published all that is committed: likewise status.',
      code: 2,
    })
    world.startRelay()
    const behind = await world.verifyJson('--wait', '3')
    expect(behind).toMatchObject({ outcome: 'unknown', code: 2 })
    expect(behind.why).toBe(`${world.consumer} is 1 record of ${world.topic} behind: likewise status.`)
    const waiting = world.verify('--wait')
    world.startConsumer()
    expect((await waiting).code).toBe(0)
  })

  it('says with 2 that a database is away', async () => {
    await world.catalog.execute(sql`alter table catalog.likes rename to likes_away`)
    const { text, code } = await world.verify('--wait', '1')
    expect(text).toMatch(/^Cannot tell: The database does not have what the code needs/)
    expect(code).toBe(2)
  })

  it('finds a count that was changed by hand', async () => {
    await counted()
    await world.metrics.execute(
      sql`update metrics.product_metrics set like_count = like_count + 5 where product_id = 3`,
    )
    const { text, code } = await world.verify()
    expect(code).toBe(1)
    expect(text).toContain('1 product of 20 products with 100 likes')
    expect(text).toContain('  3        5      10     +5')
    expect(text).toContain('  +5  the count is not the sum of its minutes, hours and days: changed by hand')
    expect(await found()).toEqual(new Map([[3, [{ kind: 'changed', off: 5, of: [] }]]]))
    const repaired = await world.verify('--repair', '--by', 'ana')
    expect(repaired.text).toContain('  product 3: 10 → 5')
    expect(repaired.code).toBe(0)
    expect(await countOf(3)).toBe(5)
    expect((await world.verify()).code).toBe(0)
    expect(
      await world.metrics.query(sql`select actor, action, record_key, detail from metrics.inbox_audit`),
    ).toEqual([
      {
        actor: 'ana',
        action: 'repair',
        record_key: '3',
        detail: 'like_count 10 -> 5, 0 buckets, 0 ids remembered',
      },
    ])
  })

  it('finds a handled id that was deleted, and remembers it again', async () => {
    await counted()
    const id = await eventOf(4)
    await forget(id)
    expect(await found()).toEqual(new Map([[4, [{ kind: 'forgotten', off: 0, of: [id] }]]]))
    expect((await world.verify('--repair')).code).toBe(0)
    expect((await world.verify()).code).toBe(0)
    expect(await countOf(4)).toBe(5)
  })

  it('finds an event that was never counted, and counts it where it happened', async () => {
    await counted()
    const id = await eventOf(5)
    await applyAgain(5, -1)
    await world.metrics.execute(sql`
      update metrics.product_like_windows set added = added - 1, removed = 0 where product_id = 5`)
    await forget(id)
    expect(await found()).toEqual(new Map([[5, [{ kind: 'missing', off: -1, of: [id] }]]]))
    expect((await world.verify('--repair')).text).toContain(
      '  product 5: 4 → 5, 1 bucket of time set, 1 event remembered',
    )
    expect([await countOf(5), await minutesOf(5)]).toEqual([5, 5])
    expect((await world.verify()).code).toBe(0)
  })

  it('finds an event that was counted twice, and the minute it is of', async () => {
    await counted()
    await applyAgain(6)
    const [finding] = (await found()).get(6) ?? []
    expect(finding).toMatchObject({ kind: 'doubled', off: 1 })
    expect(finding?.of).toContain(await eventOf(6))
    expect(finding?.detail).toMatch(/:00\.000Z, minute$/)
    expect((await world.verify('--repair')).code).toBe(0)
    expect([await countOf(6), await minutesOf(6)]).toEqual([5, 5])
    expect((await world.verify()).code).toBe(0)
  })

  it('finds an event that was written twice', async () => {
    await counted()
    await world.catalog.execute(sql`
      insert into catalog.outbox_events (shard, aggregate_type, aggregate_id, event_type, topic, partition_key, payload)
      select shard, aggregate_type, aggregate_id, event_type, topic, partition_key, payload
      from catalog.outbox_events where id = ${await eventOf(7)}::uuid`)
    await world.handled(101)
    const [finding] = (await found()).get(7) ?? []
    expect(finding).toMatchObject({ kind: 'repeated', off: 1 })
    expect((await world.verify('--repair')).code).toBe(0)
    expect([await countOf(7), await minutesOf(7)]).toEqual([5, 5])
    expect((await world.verify()).code).toBe(0)
  })

  it('finds a like whose event was deleted from the outbox before it was sent', async () => {
    await counted()
    await world.stopRelay()
    await world.like(77, 8)
    await world.catalog.execute(
      sql`delete from catalog.outbox_events where partition_key = '8' and payload->>'userId' = '77'`,
    )
    world.startRelay()
    expect(await found()).toEqual(new Map([[8, [{ kind: 'no_event', off: -1, of: ['77'] }]]]))
    expect((await world.verify('--repair')).code).toBe(0)
    expect([await countOf(8), await minutesOf(8)]).toEqual([6, 6])
    expect((await world.verify()).code).toBe(0)
  })

  it('finds an unlike that no event tells of', async () => {
    await counted()
    await world.catalog.execute(sql`delete from catalog.likes where user_id = 1 and product_id = 8`)
    expect(await found()).toEqual(new Map([[8, [{ kind: 'no_event', off: 1, of: ['1'] }]]]))
    expect((await world.verify('--repair')).code).toBe(0)
    expect([await countOf(8), await minutesOf(8)]).toEqual([4, 4])
    expect((await world.verify()).code).toBe(0)
  })

  it('finds an event that was counted and then deleted from the outbox', async () => {
    await counted()
    const id = await eventOf(9)
    await world.catalog.execute(sql`delete from catalog.outbox_events where id = ${id}::uuid`)
    expect(await found()).toEqual(new Map([[9, [{ kind: 'unknown', off: 0, of: [id] }]]]))
    const { text, code } = await world.verify('--repair')
    expect(text).toMatch(
      /^Every count of .*\nProduct 9, which is right\n {2}0 {2}an event is counted, and not in/,
    )
    expect(text).not.toContain('Repaired')
    expect(code).toBe(0)
    expect([await countOf(9), await minutesOf(9)]).toEqual([5, 5])
  })

  it('finds a minute that is lost although the count is right', async () => {
    await counted()
    await world.metrics.execute(sql`delete from metrics.product_like_windows where product_id = 6`)
    const lost = (await found()).get(6)
    expect(lost).toMatchObject([{ kind: 'bucket', off: 0 }])
    expect(lost?.[0]?.detail).toMatch(/:00\.000Z, minute: 5 too few$/)
    expect(lost?.[0]?.of).toContain(await eventOf(6))
    const { text, code } = await world.verify('--repair')
    expect(text).toContain('  product 6: the count stays 5, 1 bucket of time set')
    expect(code).toBe(0)
    expect([await countOf(6), await minutesOf(6)]).toEqual([5, 5])
    expect((await world.verify()).code).toBe(0)
  })

  it('says that counts of before there were minutes are right', async () => {
    await counted()
    await world.catalog.execute(sql`
      insert into catalog.likes (user_id, product_id, created_at) values (77, 30, '2020-01-01T00:00:00Z')`)
    await world.metrics.execute(
      sql`insert into metrics.product_metrics (product_id, like_count) values (30, 1)`,
    )
    expect(await world.verifyJson()).toMatchObject({ code: 0, found: [], products: 21 })
  })

  it('finds an event that was never committed', async () => {
    await counted()
    await world.catalog.execute(sql`delete from catalog.likes where user_id = 1 and product_id = 10`)
    const id = await eventOf(10)
    await world.catalog.execute(sql`delete from catalog.outbox_events where id = ${id}::uuid`)
    expect(await found()).toEqual(new Map([[10, [{ kind: 'unknown', off: 1, of: [id] }]]]))
    expect((await world.verify()).code).toBe(1)
    expect((await world.verify('--repair')).code).toBe(0)
    expect([await countOf(10), await minutesOf(10)]).toEqual([4, 4])
    // It is remembered for ever, and nothing is wrong any more.
    expect((await world.verify()).code).toBe(0)
  })

  it('names what is parked in the outbox, and leaves it to a decision', async () => {
    await counted()
    world.refuse(({ partitionKey }) => partitionKey === '11')
    await world.change([
      { user: 77, product: 11, liked: true },
      { user: 78, product: 11, liked: true },
    ])
    const findings = (await found()).get(11)
    expect(findings).toHaveLength(1)
    expect(findings?.[0]).toMatchObject({ kind: 'parked', off: -2, detail: 'too large, says the test' })
    const { text, code } = await world.verify('--repair')
    expect(text).toContain(
      '  -2  2 events are parked in the outbox (too large, says the test): likewise outbox parked --key 11',
    )
    expect(text).toContain('  product 11: nothing to do; what is parked waits for a decision')
    expect(code).toBe(1)
    expect(await countOf(11)).toBe(5)
    world.refuse(() => false)
    await discardParked(world.sides.catalog, { selection: { partitionKey: '11' }, actor: 'test' })
    const given = await untilFound(11, 'given_up')
    expect(given).toMatchObject({ off: -2 })
    expect((await world.verify('--repair')).code).toBe(0)
    expect([await countOf(11), await minutesOf(11)]).toEqual([7, 7])
    expect((await world.verify()).code).toBe(0)
  })

  it('leaves alone what was parked so long that the ring has lost it, and is redriven meanwhile', async () => {
    await counted()
    const isIt = ({ partitionKey }: { partitionKey: string }) => partitionKey === '15'
    world.refuse(isIt)
    const oldMs = Date.now() - 5 * dayMs
    await world.catalog.execute(sql`
      insert into catalog.likes (user_id, product_id, created_at) values (77, 15, ${new Date(oldMs)}::timestamptz)`)
    await enqueue(world.catalog, {
      ...{ id: idAt(oldMs), eventType: 'catalog.like.added.v1', topic: world.topic, partitionKey: '15' },
      ...{ aggregateType: 'product', aggregateId: '15' },
      payload: JSON.stringify({ userId: 77, productId: 15, createdAt: new Date(oldMs).toISOString() }),
    })
    await untilFound(15, 'parked')
    await world.catalog.execute(sql`
      delete from catalog.outbox_events as e using catalog.outbox_parked as p where p.shard = e.shard and p.seq = e.seq`)
    await atOneMoment(world.sides, { patienceMs: 60_000, tell: () => undefined }, async (moment) => {
      const facts = await readFacts(moment, world.sides, [15])
      expect(facts.map((one) => explain(one).findings)).toMatchObject([[{ kind: 'parked', off: -1 }]])
      const repair = async () => {
        const repairs = repairProducts(world.sides, moment, { facts, actor: 'test' })
        expect((await repairs.next()).value).toMatchObject({ productId: 15, outcome: 'nothing to do' })
      }
      await world.stopConsumer()
      world.refuse(() => false)
      await redriveParked(world.sides.catalog, { selection: { partitionKey: '15' }, actor: 'test' })
      const parked = sql`select 1 from catalog.outbox_parked where resolved_at is null`
      while ((await world.catalog.query(parked)).length > 0) await pause(20)
      // It is on the topic, and as a purge leaves the outbox, nobody there knows of it.
      await world.catalog.execute(sql`delete from catalog.outbox_parked`)
      await repair()
      world.startConsumer()
      await world.handled(101)
      await repair()
      return {}
    })
    expect([await countOf(15), (await world.verify()).code]).toEqual([6, 0])
  })

  it('names what is a dead letter, what was given up, and is silent about what was redriven', async () => {
    await counted()
    await world.stopConsumer()
    await world.metrics.execute(sql`
      create function metrics.refuse() returns trigger language plpgsql as $$ begin
        raise exception 'not today' using errcode = '23514'; end $$`)
    await world.metrics.execute(sql`
      create trigger refuse before update on metrics.product_metrics for each row
      when (new.product_id in (12, 13)) execute function metrics.refuse()`)
    await world.change([
      { user: 77, product: 12, liked: true },
      { user: 77, product: 13, liked: true },
    ])
    world.startConsumer()
    await world.handled(102)
    await world.metrics.execute(sql`drop trigger refuse on metrics.product_metrics`)
    const letters = await found()
    expect(letters.get(12)).toMatchObject([{ kind: 'dead_letter', off: -1, detail: 'failed' }])
    expect(letters.get(13)).toMatchObject([{ kind: 'dead_letter', off: -1, detail: 'failed' }])
    expect((await world.verify('--repair')).code).toBe(1)
    expect([await countOf(12), await countOf(13)]).toEqual([5, 5])
    const action = { consumer: world.consumer, actor: 'test', horizon, work: applyToProductMetrics }
    await exhaust(redrive(world.sides.metrics, { ...action, selection: { key: '12' } }))
    await exhaust(discard(world.sides.metrics, { ...action, selection: { key: '13' } }))
    expect(await found()).toMatchObject(new Map([[13, [{ kind: 'given_up', off: -1 }]]]))
    expect((await world.verify('--repair')).code).toBe(0)
    expect([await countOf(13), await minutesOf(13)]).toEqual([6, 6])
    expect((await world.verify()).code).toBe(0)
  })

  it('does not repair what happened before the outbox reaches back', async () => {
    await counted()
    await world.metrics.execute(sql`
      with moved as (update metrics.product_metrics set like_count = like_count + 1 where product_id = 14)
      insert into metrics.product_like_days (product_id, bucket_start, added) values (14, '2026-01-01T00:00:00Z', 1)`)
    const { text, code } = await world.verify('--repair')
    expect(text).toContain('  +1  more than can be explained: it happened before the outbox reaches back')
    expect(text).toContain('product 14: left as it was, since it happened before the outbox reaches back')
    expect(code).toBe(1)
    expect(await countOf(14)).toBe(6)
  })
})

async function untilFound(product: number, kind: string) {
  for (;;) {
    const finding = (await found()).get(product)?.find((one) => one.kind === kind)
    if (finding) return finding
  }
}
