import { readFile } from 'node:fs/promises'
import { queryableOf, queryableOfPg, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, pgClient } from '@likewise/database/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { type ConsumedEvent, handleOnce } from './handle-once.ts'
import { dayMs, idAt } from './testing.ts'

let test: TestDatabase
/** The examples of docs/adopting.md about consuming, by their order there. */
let examples: string[]

beforeAll(async () => {
  test = await freshDatabase('adopting_inbox')
  await test.db.execute(
    sql`create table invoices (order_id bigint not null, event_id uuid primary key, total bigint)`,
  )
  const page = await readFile(new URL('../../../docs/adopting.md', import.meta.url), 'utf8')
  const section = page.slice(page.indexOf('\n## The inbox'))
  examples = [...section.matchAll(/```ts\n(.*?)```/gs)].map(([, code]) => code ?? '')
})
afterAll(() => test.drop())
beforeEach(() => test.db.execute(sql`truncate invoices, metrics.event_handled`))

/** Runs an example as it stands on the page, with what it takes for granted. */
async function runExample(code: string, given: Record<string, unknown>): Promise<void> {
  const AsyncFunction = (async () => undefined).constructor as new (
    ...args: string[]
  ) => (...values: unknown[]) => Promise<void>
  await new AsyncFunction(...Object.keys(given), code)(...Object.values(given))
}

const placed = (orderId: number, id = idAt(Date.now())) => ({
  ...{ id, type: 'shop.order.placed.v1', aggregateType: 'order', aggregateId: String(orderId) },
  ...{ orderId, total: 5 },
})
const invoices = async () =>
  (
    await test.db.query<{ n: bigint }>(sql`select order_id as n from invoices order by order_id, event_id`)
  ).map(({ n }) => Number(n))

describe('docs/adopting.md', () => {
  it('handles an event once inside a Prisma interactive transaction (I2)', async () => {
    const given = { prisma: test.db.client, handleOnce, queryableOf, event: placed(7) }
    for (let delivery = 0; delivery < 3; delivery += 1) await runExample(examples[0] ?? '', given)
    expect(await invoices()).toEqual([7])
  })

  it('handles events once with a plain client of pg (I2)', async () => {
    const client = await pgClient(test.url)
    const events = [placed(1), placed(2), placed(3)]
    const given = { client, handleOnce, queryableOfPg }
    await runExample(examples[1] ?? '', { ...given, events: events.slice(0, 2) })
    await runExample(examples[1] ?? '', { ...given, events: [...events, events[2]] })
    await client.end()
    expect(await invoices()).toEqual([1, 2, 3])
  })
})

describe('handleOnce', () => {
  const once = (consumer: string, event: ConsumedEvent, work = () => Promise.resolve()) =>
    test.db.tx((tx) => handleOnce(tx, consumer, event, work))

  it('tells what became of each event of a list, and works on the fresh ones once each, in order', async () => {
    const [one, two, three] = [placed(1), placed(2), placed(3)]
    await once('a', two)
    const got: number[] = []
    const outcomes = await test.db.tx((tx) =>
      handleOnce(tx, 'a', [three, two, one, { ...three, id: three.id.toUpperCase() }], async (fresh) => {
        got.push(...fresh.map(({ orderId }) => orderId))
      }),
    )
    expect(outcomes).toEqual(['handled', 'duplicate', 'handled', 'duplicate'])
    expect(got).toEqual([3, 1])
    expect(
      await handleOnce(test.as('likewise_consumer'), 'a', [], () => Promise.reject(new Error('not called'))),
    ).toEqual([])
  })

  it('forgets the event with the transaction: a handler that fails meets it again', async () => {
    const event = placed(1)
    await expect(once('a', event, () => Promise.reject(new Error('out of luck')))).rejects.toThrow(
      'out of luck',
    )
    expect(await once('a', event)).toBe('handled')
    expect(await once('a', event)).toBe('duplicate')
  })

  it('lets one of many at the same moment have the effect (I2)', async () => {
    const event = placed(1)
    const outcomes = await Promise.all(Array.from({ length: 8 }, () => once('a', event)))
    expect(outcomes.sort()).toEqual([...Array.from({ length: 7 }, () => 'duplicate'), 'handled'])
  })

  it('keeps consumers with different names apart, also at the same moment (I2)', async () => {
    const event = placed(1)
    const names = ['billing', 'search', 'mail']
    expect(await Promise.all(names.map((name) => once(name, event)))).toEqual(names.map(() => 'handled'))
    expect(await Promise.all(names.map((name) => once(name, event)))).toEqual(names.map(() => 'duplicate'))
  })

  it.each([
    ['no UUID', 'order-7', 'is not a UUID'],
    ['of version 4', '0b4f2d6e-4c52-4f2e-9d3a-2f8f2d0c7e11', 'is not of version 7'],
    ['of version 1', 'c232ab00-9414-11ec-b3c8-9f6bdeced846', 'is not of version 7'],
    ['past the horizon', idAt(Date.now() - 30.5 * dayMs), 'is 30.5 days old'],
    ['more than a day ahead', idAt(Date.now() + 1.5 * dayMs), 'is 1.5 days ahead'],
  ])('refuses an event whose id is %s, with everything beside it, before any work', async (_, id, why) => {
    let worked = false
    const list = [placed(1), placed(2, id)]
    const handling = handleOnce(test.as('likewise_consumer'), 'a', list, async () => void (worked = true))
    await expect(handling).rejects.toMatchObject({
      code: 'EVENT_UNJUDGED',
      message: expect.stringContaining(why),
    })
    expect(worked).toBe(false)
    expect(await test.db.query(sql`select 1 from metrics.event_handled`)).toEqual([])
  })

  it('judges by the database, and takes ids up to the horizon and a day ahead', async () => {
    const ids = [-30 * dayMs + 60_000, 0, dayMs - 60_000].map((ms) => idAt(Date.now() + ms))
    for (const id of ids) {
      expect([await once('a', placed(1, id)), await once('a', placed(1, id))]).toEqual([
        'handled',
        'duplicate',
      ])
    }
  })
})
