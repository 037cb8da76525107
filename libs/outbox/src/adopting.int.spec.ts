import { readFile } from 'node:fs/promises'
import { queryableOf, queryableOfPg, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, pgClient } from '@likewise/database/testing'
import { shardOf } from '@likewise/events'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { enqueue } from './enqueue.ts'

let test: TestDatabase
/** The examples of docs/adopting.md, by their order there. */
let examples: string[]

beforeAll(async () => {
  test = await freshDatabase('adopting')
  const page = await readFile(new URL('../../../docs/adopting.md', import.meta.url), 'utf8')
  examples = [...page.matchAll(/```(?:ts|sql)\n(.*?)```/gs)].map(([, code]) => code ?? '')
})
afterAll(() => test.drop())

/** Runs an example as it stands on the page, with what it takes for granted. */
async function runExample(code: string, given: Record<string, unknown>): Promise<void> {
  const AsyncFunction = (async () => undefined).constructor as new (
    ...args: string[]
  ) => (...values: unknown[]) => Promise<void>
  await new AsyncFunction(...Object.keys(given), code)(...Object.values(given))
}

const written = () =>
  test.db.query(sql`
    select event_type as type, aggregate_type as aggregate, aggregate_id as of, topic, partition_key as key,
           payload::text as payload, shard::int as shard, (select count(*)::int from catalog.likes) as likes
    from catalog.outbox_events order by seq desc limit 1`)
const order = (likes: number) => [
  {
    ...{ type: 'shop.order.placed.v1', aggregate: 'order', of: '100', topic: 'orders', key: '100', likes },
    ...{ payload: '{"orderId":100}', shard: shardOf('100') },
  },
]

describe('docs/adopting.md', () => {
  it('enqueues inside a Prisma interactive transaction', async () => {
    await runExample(examples[0] ?? '', { prisma: test.db.client, enqueue, queryableOf })
    expect(await written()).toEqual(order(1))
  })

  it('enqueues with a plain client of pg', async () => {
    const client = await pgClient(test.url)
    await runExample(examples[1] ?? '', { client, enqueue, queryableOfPg })
    await client.end()
    expect(await written()).toEqual(order(2))
  })

  it('enqueues from SQL', async () => {
    const client = await pgClient(test.url)
    await client.query(examples[2] ?? '')
    await client.end()
    expect(await written()).toEqual(order(3))
  })
})

describe('queryableOfPg', () => {
  it('rejects with the same failures as our own client', async () => {
    const client = await pgClient(test.url)
    const event = { eventType: 'e', aggregateType: 'a', aggregateId: '1', topic: 't', partitionKey: '1' }
    await expect(enqueue(queryableOfPg(client), { ...event, payload: 'not json' })).rejects.toMatchObject({
      code: 'DATABASE_REFUSED',
    })
    await client.end()
  })
})
