import { randomBytes, randomUUID } from 'node:crypto'
import { type Tx, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx } from '@likewise/database/testing'
import { type LikeEvent, encode } from '@likewise/events'
import { Failure, pause } from '@likewise/service'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { handleBatch } from './handle-batch.ts'
import type { InboxRecord } from './judgement.ts'
import { namesOf } from './log-check.ts'
import { lockMark, readMarks } from './offsets.ts'
import type { BatchOutcome } from './piece.ts'

const dayMs = 86_400_000
const horizon = { dedupHorizonMs: 30 * dayMs, futureMaxMs: dayMs }
let test: TestDatabase
let consumer: string
const topic = 'catalog-events'

beforeAll(async () => {
  test = await freshDatabase('inbox')
  // The effect, for these tests: one row per time an event was applied. No key, so that twice would show.
  await test.db.execute(
    sql`create table applied (consumer text, event_id uuid, n bigint generated always as identity); grant select, insert on applied to public`,
  )
})
afterAll(() => test.drop())
beforeEach(() => {
  consumer = `test-${randomUUID()}`
})

function idNow(): string {
  const hex = Date.now().toString(16).padStart(12, '0')
  const random = randomBytes(8).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7${random.slice(0, 3)}-9${random.slice(3, 6)}-${random.slice(4, 16)}`
}

function record(offset: number, productId = 100, id = idNow()): InboxRecord {
  const data = { userId: 1, productId, createdAt: '2026-11-22T09:14:05.402817Z' }
  const event: LikeEvent = { type: 'catalog.like.added.v1', id, source: '/test', time: data.createdAt, data }
  const { key, value, headers } = encode(event)
  return { offset: BigInt(offset), key, value: Buffer.from(value), headers, timeMs: Date.now() }
}

const idOf = (one: InboxRecord): string => String(one.headers['ce_id'])

const apply = (by: string) => async (tx: Tx, fresh: readonly LikeEvent[]) => {
  for (const { id } of fresh) {
    await tx.execute(sql`insert into applied (consumer, event_id) values (${by}, ${id}::uuid)`)
  }
}

type Work = (tx: Tx, fresh: readonly LikeEvent[]) => Promise<void>

function handle(
  records: readonly InboxRecord[],
  work: Work = apply(consumer),
  partition = 0,
): Promise<BatchOutcome> {
  return handleBatch(test.as('likewise_consumer'), {
    scope: { consumer, topic, partition },
    records,
    horizon,
    work,
  })
}

async function applied(by = consumer): Promise<string[]> {
  const rows = await test.db.query<{ id: string }>(
    sql`select event_id::text as id from applied where consumer = ${by} order by n`,
  )
  return rows.map(({ id }) => id)
}

async function remembered(by = consumer): Promise<number> {
  return (await test.db.query(sql`select 1 from metrics.event_handled where consumer = ${by}`)).length
}

async function mark(by = consumer, partition = 0): Promise<bigint | undefined> {
  return (await readMarks(test.as('likewise_consumer'), by, topic)).find((one) => one.partition === partition)
    ?.nextOffset
}

/** As after a restore of the mark, or a topic that is read again from its beginning. */
const forgetMark = () =>
  test.db.execute(sql`delete from metrics.consumer_offsets where consumer = ${consumer}`)

const none = { handled: 0, duplicates: 0, skipped: 0, parked: [], foreign: 0 }

describe('an event has its effect once', () => {
  it('when its batch is delivered three times', async () => {
    const batch = [record(0), record(1, 200), record(2)]
    expect(await handle(batch)).toEqual({ ...none, handled: 3 })
    expect(await handle(batch)).toEqual({ ...none, skipped: 3 })
    expect(await handle(batch)).toEqual({ ...none, skipped: 3 })
    expect(await applied()).toEqual(batch.map(idOf))
    expect(await mark()).toBe(3n)
  })

  it('when its batch is delivered again and nobody remembers the offset', async () => {
    const batch = [record(0), record(1, 200), record(2)]
    await handle(batch)
    await forgetMark()
    expect(await handle(batch)).toEqual({ ...none, duplicates: 3 })
    expect(await applied()).toEqual(batch.map(idOf))
  })

  it('when the batch holds its id twice', async () => {
    const one = record(0)
    const batch = [one, record(1, 200), record(2, 100, idOf(one))]
    expect(await handle(batch)).toEqual({ ...none, handled: 2, duplicates: 1 })
    expect(await applied()).toEqual(batch.slice(0, 2).map(idOf))
  })

  it('and it is the first that counts, when two records claim one id', async () => {
    const [first, second] = [record(0, 100), record(1, 200)]
    const got: number[] = []
    const work: Work = async (_tx, fresh) => void got.push(...fresh.map(({ data }) => data.productId))
    await handle([first, { ...second, headers: { ...second.headers, ce_id: idOf(first) } }], work)
    expect(got).toEqual([100])
  })

  it('when its id comes again at another offset, in another batch, in upper case', async () => {
    const one = record(0)
    await handle([one])
    const again = record(1)
    const copy = { ...again, headers: { ...again.headers, ce_id: idOf(one).toUpperCase() } }
    expect(await handle([copy, record(2, 200)])).toEqual({ ...none, handled: 1, duplicates: 1 })
    expect(await applied()).toHaveLength(2)
    expect(await mark()).toBe(3n)
  })

  it('when its id comes again in another partition', async () => {
    const one = record(0)
    await handle([one])
    expect(await handle([record(0, 100, idOf(one))], apply(consumer), 1)).toEqual({ ...none, duplicates: 1 })
    expect(await applied()).toHaveLength(1)
  })

  it('when a zombie handles the same batch at the same moment', async () => {
    const batch = [record(0), record(1, 200), record(2)]
    const outcomes = await Promise.all([1, 2, 3, 4].map(() => handle(batch)))
    expect(outcomes.map(({ handled }) => handled).sort()).toEqual([0, 0, 0, 3])
    expect(outcomes.map(({ skipped }) => skipped).sort()).toEqual([0, 3, 3, 3])
    expect(await applied()).toHaveLength(3)
  })

  it('when two members handle copies of it in two partitions at the same moment', async () => {
    const ids = Array.from({ length: 50 }, idNow)
    const batch = (order: readonly string[]) => order.map((id, i) => record(i, 100, id))
    const outcomes = await Promise.all([
      handle(batch(ids), apply(consumer), 0),
      handle(batch(ids.toReversed()), apply(consumer), 1),
    ])
    expect(outcomes.reduce((sum, { handled }) => sum + handled, 0)).toBe(50)
    expect((await applied()).sort()).toEqual([...ids].sort())
  })

  it('when only a part of the batch was handled before', async () => {
    const batch = [record(0), record(1), record(2), record(3)]
    await handle(batch.slice(0, 2))
    expect(await handle(batch)).toEqual({ ...none, handled: 2, skipped: 2 })
    expect(await applied()).toEqual(batch.map(idOf))
  })
})

describe('a redelivery below the mark', () => {
  it('is skipped without asking for ids, also where they are forgotten', async () => {
    const batch = [record(0), record(1)]
    await handle(batch)
    await test.db.execute(sql`delete from metrics.event_handled where consumer = ${consumer}`)
    expect(await handle(batch)).toEqual({ ...none, skipped: 2 })
    expect(await applied()).toHaveLength(2)
    expect(await remembered()).toBe(0)
  })

  it('does not move the mark back', async () => {
    await handle([record(10)])
    await handle([record(3), record(4)])
    expect(await mark()).toBe(11n)
  })
})

describe('the mark', () => {
  it('moves behind the last record also where nothing was handled, and passes over gaps', async () => {
    const foreign = { ...record(41), headers: { ce_type: 'catalog.price.changed.v1' } }
    expect(await handle([record(7), foreign])).toEqual({ ...none, handled: 1, foreign: 1 })
    expect(await mark()).toBe(42n)
    expect(await handle([{ ...foreign, offset: 50n }])).toEqual({ ...none, foreign: 1 })
    expect(await mark()).toBe(51n)
  })

  it('is not moved by an empty batch', async () => {
    expect(await handle([])).toEqual(none)
  })

  it('remembers the event before it, and the record itself where that was no event', async () => {
    const last = async () =>
      (
        await test.db.query(sql`
          select last_event_id::text as id, last_record as record from metrics.consumer_offsets
          where consumer = ${consumer}`)
      )[0]
    const [one, other] = [record(0), { ...record(1), headers: { ce_type: 'other' } }]
    await handle([one])
    expect(await last()).toEqual({ id: idOf(one), record: null })
    await handle([other])
    expect(await last()).toEqual({ id: null, record: namesOf(other)[0] })
  })

  it('makes a second member wait until the first has committed, and then see what it did', async () => {
    await handle([record(0)])
    const first = await openTx(test.db)
    await lockMark(first.tx, { consumer, topic, partition: 0 })
    const second = handle([record(0), record(1)])
    const early = await Promise.race([second, pause(150).then(() => 'waits')])
    expect(early).toBe('waits')
    await first.tx.execute(
      sql`update metrics.consumer_offsets set next_offset = 2 where consumer = ${consumer}`,
    )
    await first.commit()
    expect(await second).toEqual({ ...none, skipped: 2 })
  })
})

describe('work that meets an outage', () => {
  it('takes the mark, the ids and the dead letters with it, and the batch succeeds later', async () => {
    const batch = [{ ...record(0, 300), value: Buffer.from('{') }, record(1), record(2)]
    const failing = async (tx: Tx, fresh: readonly LikeEvent[]) => {
      await apply(consumer)(tx, fresh)
      throw new Failure('DATABASE_UNAVAILABLE', 'out of luck')
    }
    await expect(handle(batch, failing)).rejects.toThrow('out of luck')
    const letters = () => test.db.query(sql`select 1 from metrics.dead_letters where consumer = ${consumer}`)
    expect([await applied(), await remembered(), await mark(), await letters()]).toEqual([
      [],
      0,
      undefined,
      [],
    ])

    expect(await handle(batch)).toMatchObject({ handled: 2, duplicates: 0, skipped: 0 })
    expect(await applied()).toEqual(batch.slice(1).map(idOf))
    expect(await letters()).toHaveLength(1)
  })

  it('does so too when PostgreSQL is what refuses, and the work hides it', async () => {
    const hiding = async (tx: Tx) => {
      await tx.execute(sql`insert into nowhere values (1)`).catch(() => undefined)
    }
    await expect(handle([record(0)], hiding)).rejects.toMatchObject({ name: 'Failure' })
    expect([await remembered(), await mark()]).toEqual([0, undefined])
  })
})

describe('two consumers with different names', () => {
  it('do not disturb each other: each applies every event, has its own mark and its own dead letters', async () => {
    const batch = [{ ...record(0, 300), value: Buffer.from('{') }, record(1, 300), record(2)]
    const other = `${consumer}-other`
    const [mine, theirs] = await Promise.all([
      handle(batch),
      handleBatch(test.as('likewise_consumer'), {
        scope: { consumer: other, topic, partition: 0 },
        records: batch,
        horizon,
        work: apply(other),
      }),
    ])
    expect(mine).toEqual(theirs)
    expect(mine).toMatchObject({ handled: 1, duplicates: 0 })
    expect([await applied(), await applied(other)]).toEqual([[idOf(batch[2]!)], [idOf(batch[2]!)]])
    await handle([record(3)])
    expect([await mark(), await mark(other)]).toEqual([4n, 3n])
  })
})
