import { randomUUID } from 'node:crypto'
import { type Database, type Sql, type Tx, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx, readWaiting } from '@likewise/database/testing'
import type { LikeEvent } from '@likewise/events'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { handleBatch } from './handle-batch.ts'
import type { InboxRecord } from './judgement.ts'
import { type LeftMark, lockMark, readMarks } from './offsets.ts'
import { type PieceOptions, type Together, handleTogether } from './piece.ts'
import { replayRecords } from './replay.ts'
import { noteStart } from './start-note.ts'
import { dayMs, horizon, idAt, idOf, likeRecord } from './testing.ts'

const topic = 'catalog-events'
let test: TestDatabase
let consumer: string

beforeAll(async () => {
  test = await freshDatabase('together')
  // No key, so that twice would show.
  await test.db.execute(
    sql`create table applied (consumer text, event_id uuid); grant select, insert on applied to public`,
  )
})
afterAll(() => test.drop())
beforeEach(() => {
  consumer = `test-${randomUUID()}`
})

const work = async (tx: Tx, fresh: readonly LikeEvent[]): Promise<void> => {
  for (const { id } of fresh) {
    await tx.execute(sql`insert into applied (consumer, event_id) values (${consumer}, ${id}::uuid)`)
  }
}
const workWithin = (events: readonly LikeEvent[]) => sql`, done as (
  insert into applied (consumer, event_id) select ${consumer}, e.id
  from unnest(${events.map(({ id }) => id)}::uuid[]) as e(id) join fresh on fresh.event_id = e.id)`

interface Given {
  partition: number
  records: readonly InboxRecord[]
  left?: LeftMark | undefined
}

/** Which ways were taken to the database. */
let ways: ('statement' | 'transaction')[]
const watched = (db: Database): Database => ({
  ...db,
  query: (statement) => {
    ways.push('statement')
    return db.query(statement)
  },
  tx: (inTx, options) => {
    ways.push('transaction')
    return db.tx(inTx, options)
  },
})

const asConsumer = (): Database => test.as('likewise_consumer')

function handle(first: Given, ...others: Given[]): Promise<Together[]> {
  return handleBy(asConsumer(), first, ...others)
}

function handleBy(db: Database, first: Given, ...others: Given[]): Promise<Together[]> {
  ways = []
  const pieceOf = ({ partition, records, left }: Given): PieceOptions => ({
    ...{ scope: { consumer, topic, partition }, records, horizon, work, workWithin },
    ...(left && { left }),
  })
  return handleTogether(watched(db), [pieceOf(first), ...others.map(pieceOf)])
}

/** How the marks stand after a first record in each partition. */
async function begin(...partitions: number[]): Promise<LeftMark[]> {
  const given = partitions.map((partition) => ({ partition, records: [likeRecord(0, 900 + partition)] }))
  for (const { partition } of given) {
    await test.db.tx((tx) => lockMark(tx, { consumer, topic, partition }))
  }
  const done = await handle(given[0]!, ...given.slice(1))
  expect(ways).toEqual(['transaction'])
  return done.map((one) => (one === 'apart' ? undefined : one.left)!)
}

const applied = async (): Promise<string[]> =>
  (
    await test.db.query<{ id: string }>(
      sql`select event_id::text as id from applied where consumer = ${consumer}`,
    )
  ).map(({ id }) => id)
const marks = async () =>
  (await readMarks(test.as('likewise_consumer'), consumer, topic)).map(({ nextOffset }) => Number(nextOffset))
const handled = (done: readonly Together[]) =>
  done.map((one) => (one === 'apart' ? one : one.outcome.handled))
const next = (offset: number, productId = 100): InboxRecord => likeRecord(offset, productId)

describe('small batches on marks as this process left them', () => {
  it('are handled by one statement, each event once, and the marks go behind them (I2, I4)', async () => {
    const [one, other] = await begin(0, 1)
    const [a, b, c] = [next(1), next(2, 101), next(1, 102)]
    const done = await handle(
      { partition: 0, records: [a, b], left: one },
      { partition: 1, records: [c], left: other },
    )
    expect([ways, handled(done), await marks()]).toEqual([['statement'], [2, 1], [3, 2]])
    expect((await applied()).slice(2).sort()).toEqual([a, b, c].map(idOf).sort())

    const lefts = done.map((one) => (one === 'apart' ? undefined : one.left))
    const more = await handle({ partition: 0, records: [next(3)], left: lefts[0] })
    expect([ways, handled(more), await marks()]).toEqual([['statement'], [1], [4, 2]])
  })

  it('have of an id that comes twice, or had its effect before, one effect (I2)', async () => {
    const [left] = await begin(0)
    const [twice, old] = [next(1), next(3)]
    const first = await handle({ partition: 0, records: [twice, { ...twice, offset: 2n }, old], left })
    expect([ways, handled(first)]).toEqual([['statement'], [2]])
    const [one] = first
    if (one === 'apart' || one === undefined) throw new Error('not handled')
    expect(one.outcome.duplicates).toBe(1)
    const again = { ...old, offset: 4n }
    const second = await handle({ partition: 0, records: [again, next(5)], left: one.left })
    expect([ways, handled(second)]).toEqual([['statement'], [1]])
    expect((await applied()).length).toBe(4)
    expect(new Set(await applied()).size).toBe(4)
  })

  it('find what had its effect before, whoever moved the mark since: a zombie changes nothing (I2)', async () => {
    const [left] = await begin(0)
    const records = [next(1), next(2)]
    const scope = { consumer, topic, partition: 0 }
    await handleBatch(test.as('likewise_consumer'), { scope, records, horizon, work })
    const done = await handle({ partition: 0, records, left })
    expect([ways, handled(done), await marks()]).toEqual([['statement', 'transaction'], [0], [3]])
    expect((await applied()).length).toBe(3)
  })

  it('wait for nobody: where one mark is held its batch goes its own way, and the others are handled', async () => {
    const [one, other] = await begin(0, 1)
    const holder = await openTx(test.as('likewise_operator'))
    await lockMark(holder.tx, { consumer, topic, partition: 1 })
    const done = await handle(
      { partition: 0, records: [next(1)], left: one },
      { partition: 1, records: [next(1, 101)], left: other },
    )
    await holder.rollback()
    expect([ways, handled(done), await marks()]).toEqual([
      ['statement', 'transaction'],
      [1, 'apart'],
      [2, 1],
    ])
  })

  it('are looked at by themselves where an event has to be parked, or its key waits (I8)', async () => {
    const [left] = await begin(0)
    const old = likeRecord(1, 100, idAt(Date.now() - 31 * dayMs))
    expect(await handle({ partition: 0, records: [old], left })).toEqual(['apart'])
    const scope = { consumer, topic, partition: 0 }
    const refused = { ...next(1), value: Buffer.from('not JSON') }
    const failing = { scope, records: [refused], horizon, work }
    expect((await handleBatch(test.as('likewise_consumer'), failing)).parked).toHaveLength(1)
    const [begun] = await begin(1)
    // Its key is that of the one that is parked.
    expect(await handle({ partition: 1, records: [next(1)], left: begun })).toEqual(['apart'])
    expect((await applied()).length).toBe(2)
  })

  it('do not trust a mark before which somebody has parked something since, as a replay does (I4)', async () => {
    const [left] = await begin(0)
    const skipped = await handle({ partition: 0, records: [next(5)], left })
    const behind = skipped.map((one) => (one === 'apart' ? undefined : one.left))[0]
    const scope = { consumer, topic, partition: 0 }
    const refused = { ...next(3), value: Buffer.from('not JSON') }
    const replayed = await replayRecords(test.as('likewise_operator'), {
      scope,
      records: [refused],
      horizon,
      work,
    })
    expect(replayed.parked).toBe(1)
    // Of another key, which does not wait: only the mark tells.
    const done = await handle({ partition: 0, records: [next(6, 101)], left: behind })
    expect([ways, handled(done)]).toEqual([['statement', 'transaction'], [1]])
  })

  it('ask the database for its time where this process is wrong about it', async () => {
    const [left] = await begin(0)
    const asleep = left && { ...left, nowMs: left.nowMs - 2 * 60_000 }
    const done = await handle({ partition: 0, records: [next(1)], left: asleep })
    expect([ways, handled(done)]).toEqual([['statement', 'transaction'], [1]])
  })

  it('have no effect and move no mark where the effect of one fails', async () => {
    const [left] = await begin(0)
    const failing = (events: readonly LikeEvent[]) => sql`${workWithin(events)}, failed as (
      insert into applied (consumer, event_id) select ${consumer}, event_id from fresh where 1 / (octet_length(event_id::text) - 36) = 0)`
    const scope = { consumer, topic, partition: 0 }
    const piece = { scope, records: [next(1)], horizon, work, workWithin: failing, ...(left && { left }) }
    await expect(handleTogether(test.as('likewise_consumer'), [piece])).rejects.toThrow('division by zero')
    expect([(await applied()).length, await marks()]).toEqual([1, [1]])
  })
})

describe('what is committed between the snapshot of the statement and its lock on the mark', () => {
  const scope = () => ({ consumer, topic, partition: 0 })

  /** Handles by a statement that has its snapshot when `meanwhile` begins, and looks at the mark when that has ended. */
  async function handleLate(given: Given, meanwhile: () => Promise<unknown>): Promise<Together[]> {
    const number = Math.floor(Math.random() * 2 ** 31)
    const holder = await openTx(test.db)
    await holder.tx.query(sql`select 1 as held from pg_advisory_xact_lock(${number}::int)`)
    const late = handleBy(lateBy(asConsumer(), number), given)
    const first = await Promise.race([late, someWait()])
    expect(first).toBe('waits')
    await meanwhile()
    await holder.commit()
    return late
  }

  async function someWait(): Promise<'waits'> {
    while ((await readWaiting(test.db, { event: 'advisory' })).length === 0) {
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    return 'waits'
  }

  it('is seen where it moved the mark: nothing is done twice, and the mark does not go back (I2)', async () => {
    const [left] = await begin(0)
    const [one, two, three] = [next(1), next(2), next(3)]
    const done = await handleLate({ partition: 0, records: [one, two], left }, () =>
      handleBatch(asConsumer(), { scope: scope(), records: [one, two, three], horizon, work }),
    )
    expect([ways, handled(done), await marks()]).toEqual([['statement', 'transaction'], [0], [4]])
    expect((await applied()).slice(1).sort()).toEqual([one, two, three].map(idOf).sort())
  })

  it('is seen where it parked an earlier event of the key and moved the mark: what waits for that is not applied (I4)', async () => {
    const [left] = await begin(0)
    const refused = { ...next(1), value: Buffer.from('not JSON') }
    const done = await handleLate({ partition: 0, records: [next(2)], left }, async () => {
      const { parked } = await handleBatch(asConsumer(), {
        ...{ scope: scope(), records: [refused], horizon, work },
      })
      expect(parked).toHaveLength(1)
    })
    expect([ways, done, await marks()]).toEqual([['statement', 'transaction'], ['apart'], [2]])
    expect((await applied()).length).toBe(1)
  })

  it('is seen where a replay parked an earlier event of the key, which moves no mark (I4)', async () => {
    const [begun] = await begin(0)
    const skipped = await handle({ partition: 0, records: [next(5, 101)], left: begun })
    const left = skipped.map((one) => (one === 'apart' ? undefined : one.left))[0]
    const refused = { ...next(3), value: Buffer.from('not JSON') }
    const done = await handleLate({ partition: 0, records: [next(6)], left }, async () => {
      const replaying = { scope: scope(), records: [refused], horizon, work }
      expect((await replayRecords(test.as('likewise_operator'), replaying)).parked).toBe(1)
    })
    expect([ways, done, await marks()]).toEqual([['statement', 'transaction'], ['apart'], [6]])
    expect((await applied()).length).toBe(2)
  })

  it('does no harm where it changed the row of the mark, but neither moved nor touched it', async () => {
    const [left] = await begin(0)
    const record = next(1)
    const done = await handleLate({ partition: 0, records: [record], left }, () =>
      test.db.tx(async (tx) => {
        await lockMark(tx, scope())
        await noteStart(tx, scope(), { from: 1n, to: 2n, starts: 1 })
      }),
    )
    expect([ways, handled(done), await marks()]).toEqual([['statement'], [1], [2]])
    expect((await applied()).slice(1)).toEqual([idOf(record)])
    const [noted] = await test.db.query(
      sql`select starts from metrics.consumer_offsets where consumer = ${consumer} and started_offset is not null`,
    )
    expect(noted).toBeUndefined()
  })

  it('does no harm where it had the effect of the same event, under the mark of another partition (I2)', async () => {
    const [left] = await begin(0, 1)
    const record = next(1)
    const done = await handleLate({ partition: 0, records: [record], left }, () =>
      handleBatch(asConsumer(), {
        ...{ scope: { ...scope(), partition: 1 }, records: [record], horizon, work },
      }),
    )
    expect([ways, handled(done), await marks()]).toEqual([['statement'], [0], [2, 2]])
    expect((await applied()).slice(2)).toEqual([idOf(record)])
  })
})

/** Where the statement asks for the time, the first that it does, it waits for that lock. */
function lateBy(db: Database, number: number): Database {
  const clock = 'abs(extract(epoch from clock_timestamp())'
  return {
    ...db,
    query: (statement: Sql) => {
      const at = statement.strings.findIndex((text) => text.includes(clock))
      expect(at).toBeGreaterThanOrEqual(0)
      const wait = `length((select pg_advisory_xact_lock(${number})::text)) + ${clock}`
      const strings = statement.strings.map((text, i) => (i === at ? text.replace(clock, wait) : text))
      return db.query(sql(strings, ...statement.values))
    },
  }
}
