import { type Queryable, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx } from '@likewise/database/testing'
import { shardOf } from '@likewise/events'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { type NewEvent, enqueue } from './enqueue.ts'

let test: TestDatabase

beforeAll(async () => {
  test = await freshDatabase('enqueue')
})
afterAll(() => test.drop())
beforeEach(() => test.db.execute(sql`truncate catalog.outbox_events`))

const event = (change: Partial<NewEvent> = {}): NewEvent => ({
  eventType: 'test.happened.v1',
  aggregateType: 'product',
  aggregateId: '100',
  topic: 'test',
  partitionKey: '100',
  payload: '{}',
  ...change,
})

interface Row {
  id: string
  shard: number
  payload: string
  traceparent: string | null
  headers: string | null
}

const rows = (db: Queryable = test.db): Promise<Row[]> =>
  db.query<Row>(sql`
    select id::text as id, shard::int as shard, payload::text as payload, traceparent, headers::text as headers
    from catalog.outbox_events order by seq`)

describe('enqueue', () => {
  it('writes nothing when the transaction of the caller rolls back', async () => {
    const { tx, rollback } = await openTx(test.db)
    await enqueue(tx, event())
    expect(await rows(tx)).toHaveLength(1)
    await rollback()
    expect(await rows()).toEqual([])
  })

  it('shows an event to nobody before the transaction of the caller commits', async () => {
    const { tx, commit } = await openTx(test.db)
    await enqueue(tx, event())
    expect(await rows()).toEqual([])
    await commit()
    expect(await rows()).toHaveLength(1)
  })

  it('takes the caller down with it when PostgreSQL refuses the event, rather than lose it in silence', async () => {
    const done = test.db.tx(async (tx) => {
      await tx.execute(sql`insert into catalog.likes (user_id, product_id) values (1, 1)`)
      await enqueue(tx, event({ payload: 'not json' }))
    })
    await expect(done).rejects.toMatchObject({ code: 'DATABASE_REFUSED' })
    expect(await test.db.query(sql`select * from catalog.likes`)).toEqual([])
  })

  it('keeps the bytes of the payload', async () => {
    const payload = '{ "b" : 1.50,\n\t"a":1e2, "a":"\\u00e9é좋\\u0000😀" , "big":12345678901234567890 }'
    await enqueue(test.db, event({ payload }))
    expect((await rows())[0]?.payload).toBe(payload)
  })

  it('writes many events in the order given and returns their ids in that order', async () => {
    const names = Array.from({ length: 500 }, (_, i) => `n${String(i)}`)
    const ids = await enqueue(
      test.db,
      names.map((name, i) => event({ partitionKey: String(i), payload: JSON.stringify({ name }) })),
    )
    const found = await rows()
    expect(found.map(({ payload }) => payload)).toEqual(names.map((name) => JSON.stringify({ name })))
    expect(found.map(({ id }) => id)).toEqual(ids)
    expect(found.map(({ shard }) => shard)).toEqual(names.map((_, i) => shardOf(String(i))))
  })

  it('takes more events at once than the protocol has parameters for', async () => {
    const ids = await enqueue(
      test.db,
      Array.from({ length: 7_000 }, () => event()),
    )
    expect(new Set(ids).size).toBe(7_000)
    expect(await rows()).toHaveLength(7_000)
  })

  it('does nothing for an empty list', async () => {
    expect(await enqueue(test.db, [])).toEqual([])
    expect(await rows()).toEqual([])
  })

  it('keeps the id, the trace and the headers of the caller', async () => {
    const id = '01890a5d-ac96-774b-bcce-b302099a8057'
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    expect(await enqueue(test.db, event({ id, traceparent, headers: { tenant: 'é "1"' } }))).toEqual([id])
    expect(await rows()).toEqual([
      expect.objectContaining({ id, traceparent, headers: '{"tenant":"é \\"1\\""}' }),
    ])
  })

  it('draws a UUID v7 where the caller gives none', async () => {
    const [id] = await enqueue(test.db, event())
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  })

  it('refuses the same event id twice', async () => {
    const id = '01890a5d-ac96-774b-bcce-b302099a8057'
    await enqueue(test.db, event({ id }))
    await expect(enqueue(test.db, event({ id }))).rejects.toMatchObject({ code: 'DATABASE_REFUSED' })
  })
})

describe('the shard of a key', () => {
  // PostgreSQL text cannot hold NUL, so no key has one. Lone surrogates are among the strings.
  const key = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.string({ unit: 'grapheme', maxLength: 20 }),
    fc.bigInt({ min: 1n, max: 2n ** 53n - 1n }).map(String),
    fc.string({
      unit: fc.integer({ min: 1, max: 0xffff }).map((code) => String.fromCharCode(code)),
      maxLength: 9,
    }),
  )
  /** As UTF-8 carries it: a lone surrogate becomes U+FFFD. */
  const stored = (text: string) => Buffer.from(text).toString()
  const storable = key.map((text) => text.replaceAll('\u0000', ''))

  it('is the same from SQL as from the code, for any text', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(storable, { minLength: 1, maxLength: 50 }), async (keys) => {
        const found = await test.db.query<{ shard: number }>(sql`
          select catalog.outbox_shard(k)::int as shard
          from jsonb_array_elements_text(${JSON.stringify(keys.map(stored))}::jsonb)
            with ordinality as t(k, n) order by n`)
        expect(found.map(({ shard }) => shard)).toEqual(keys.map((k) => shardOf(k)))
      }),
      { numRuns: 60 },
    )
  })

  it('is stored with the event as the database itself would compute it from the stored key', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(storable, { minLength: 1, maxLength: 20 }), async (keys) => {
        await test.db.execute(sql`truncate catalog.outbox_events`)
        await enqueue(
          test.db,
          keys.map((partitionKey) => event({ partitionKey })),
        )
        const astray = await test.db.query(sql`
          select partition_key from catalog.outbox_events where shard <> catalog.outbox_shard(partition_key)`)
        expect(astray).toEqual([])
      }),
      { numRuns: 25 },
    )
  })
})
