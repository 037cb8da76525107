import { randomUUID } from 'node:crypto'
import { type Tx, databaseFailure, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import type { LikeEvent } from '@likewise/events'
import { Failure } from '@likewise/service'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { type BatchOptions, handleBatch } from './handle-batch.ts'
import type { InboxRecord } from './judgement.ts'
import { readMarks } from './offsets.ts'
import type { BatchOutcome } from './piece.ts'
import { horizon, likeRecord } from './testing.ts'

const topic = 'catalog-events'
let test: TestDatabase
let consumer: string

beforeAll(async () => {
  test = await freshDatabase('failing_work')
  await test.db.execute(
    sql`create table applied (consumer text, n bigint, constraint small check (n < 1000)); grant select, insert on applied to public`,
  )
})
afterAll(() => test.drop())
beforeEach(() => {
  consumer = `test-${randomUUID()}`
})

type Work = BatchOptions['work']

/** The effect: the offset of each event. What `refuse` throws is thrown before it. */
const applying =
  (refuse: (event: LikeEvent, tx: Tx) => unknown = () => undefined): Work =>
  async (tx, fresh) => {
    for (const event of fresh) {
      await refuse(event, tx)
      await tx.execute(
        sql`insert into applied (consumer, n) values (${consumer}, ${event.data.userId - 1}::bigint)`,
      )
    }
  }

const handle = (
  records: InboxRecord[],
  work: Work,
  more: Partial<BatchOptions> = {},
): Promise<BatchOutcome> =>
  handleBatch(test.as('likewise_consumer'), {
    scope: { consumer, topic, partition: 0 },
    records,
    horizon,
    work,
    ...more,
  })

async function applied(): Promise<number[]> {
  const rows = await test.db.query<{ n: bigint }>(
    sql`select n from applied where consumer = ${consumer} order by n`,
  )
  return rows.map(({ n }) => Number(n))
}

const letters = () =>
  test.db.query<{ offset: bigint; reason: string; detail: string; attempts: number; blocks: boolean }>(sql`
    select record_offset as offset, reason, detail, attempts, blocks_key as blocks
    from metrics.dead_letters where consumer = ${consumer} order by record_offset`)
const mark = async () => (await readMarks(test.as('likewise_consumer'), consumer, topic))[0]?.nextOffset

/** Ten records of ten products. */
const ten = () => Array.from({ length: 10 }, (_, i) => likeRecord(i, 100 + i))
const at =
  (offset: number, fail: (tx: Tx) => unknown) =>
  ({ data }: LikeEvent, tx: Tx) =>
    data.userId - 1 === offset ? fail(tx) : undefined
const bug = () => {
  throw new TypeError('cannot read postgres://likewise:hunter2@db/x of\n undefined')
}

describe('an event that the work cannot handle (I9)', () => {
  it('is found in its batch, tried three times and parked with the reason; all others have their effect once', async () => {
    let tries = 0
    const work = applying(at(6, () => ((tries += 1), bug())))
    const outcome = await handle(ten(), work)
    expect(outcome).toMatchObject({ handled: 9, duplicates: 0, skipped: 0, parked: [{ reason: 'failed' }] })
    expect(await applied()).toEqual([0, 1, 2, 3, 4, 5, 7, 8, 9])
    expect(await letters()).toEqual([
      {
        offset: 6n,
        reason: 'failed',
        detail: 'TypeError: cannot read postgres://likewise:***@db/x of undefined',
        attempts: 3,
        blocks: true,
      },
    ])
    // with all ten, with five, with two of them, then alone
    expect(tries).toBe(3 + 3)
    expect(await mark()).toBe(10n)
  })

  it('is parked too where PostgreSQL is what refuses it, a constraint for one', async () => {
    await handle([likeRecord(998, 1), likeRecord(1000, 2), likeRecord(999, 3)].sort((a, b) => Number(a.offset - b.offset)), applying()) // prettier-ignore
    expect(await applied()).toEqual([998, 999])
    expect(await letters()).toMatchObject([{ offset: 1000n, reason: 'failed' }])
    expect((await letters())[0]?.detail).toContain('violates check constraint')
  })

  it('holds back the later events of its key, in order, in this batch and the next', async () => {
    const records = [0, 1, 2, 3].map((i) => likeRecord(i, i === 2 ? 8 : 7))
    await handle(records, applying(at(0, bug)))
    await handle([likeRecord(4, 7), likeRecord(5, 9)], applying())
    expect(await applied()).toEqual([2, 5])
    expect(await letters()).toMatchObject(
      [0, 1, 3, 4].map((n) => ({ offset: BigInt(n), reason: n === 0 ? 'failed' : 'behind_parked' })),
    )
  })

  it('is one of many: two bad ones in a batch, and one in a batch of its own, are parked each', async () => {
    const work = applying(({ data }) => ([0, 9].includes(data.userId - 1) ? bug() : undefined))
    await handle(ten(), work)
    await handle([likeRecord(10, 1)], applying(at(10, bug)))
    expect(await applied()).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    expect((await letters()).map(({ offset }) => Number(offset))).toEqual([0, 9, 10])
  })

  it('is handled where the second try works', async () => {
    let tries = 0
    const work = applying(at(3, () => ((tries += 1) < 5 ? bug() : undefined)))
    expect(await handle(ten(), work)).toMatchObject({ handled: 10, parked: [] })
    expect(await letters()).toEqual([])
  })

  it('is not parked when the member stops: the same batch comes again', async () => {
    const stopping = new AbortController()
    const work = applying(at(0, () => (stopping.abort(), bug())))
    await expect(handle(ten(), work, { stopping: stopping.signal })).rejects.toMatchObject({
      name: 'AbortError',
    })
    expect([await applied(), await letters(), await mark()]).toEqual([[], [], undefined])
  })

  it('is told of, also where an outage ends the batch behind it', async () => {
    const told: number[] = []
    const work = applying(({ data }) => {
      if (data.userId - 1 === 1) bug()
      if (data.userId - 1 === 7) throw new Failure('DATABASE_UNAVAILABLE', 'away')
    })
    // The outage comes up only once the bug is out of the way.
    const onHandled = ({ handled, parked }: BatchOutcome) => told.push(handled, parked.length)
    await expect(handle(ten(), work, { onHandled })).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' })
    expect(told.reduce((sum, n) => sum + n)).toBe(5)
    expect(await mark()).toBe(5n)
    expect(await handle(ten(), applying())).toMatchObject({ handled: 5, skipped: 5 })
    expect(await applied()).toEqual([0, 2, 3, 4, 5, 6, 7, 8, 9])
  })
})

describe('an outage parks nothing, and leaves the whole batch for later', () => {
  const raise = (sqlstate: string) => async (tx: Tx) => {
    await tx.execute(sql`select set_config('test.state', ${sqlstate}, true)`)
    await tx.execute(
      sql`do $$ begin raise exception 'made' using errcode = current_setting('test.state'); end $$`,
    )
  }

  it.each([
    ['serialization failure', '40001'],
    ['deadlock', '40P01'],
    ['lock timeout', '55P03'],
    ['statement timeout', '57014'],
    ['connection exception', '08006'],
    ['too many connections', '53300'],
    ['disk full', '53100'],
    ['out of memory', '53200'],
    ['admin shutdown', '57P01'],
    ['crash shutdown', '57P02'],
    ['cannot connect now', '57P03'],
    ['idle in transaction', '25P03'],
    ['transaction timeout', '25P04'],
    ['read only after a failover', '25006'],
    ['no rights', '42501'],
    ['I/O error', '58030'],
  ])('%s (%s)', async (_, sqlstate) => {
    await expect(handle(ten(), applying(at(4, raise(sqlstate))))).rejects.toMatchObject({ retryable: true })
    await expect(handle([likeRecord(0)], applying(at(0, raise(sqlstate))))).rejects.toMatchObject({
      retryable: true,
    })
    expect([await applied(), await letters(), await mark()]).toEqual([[], [], undefined])
  })

  it.each([
    ['a connection that was reset', Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })],
    ['a connection that was ended', new Error('Connection terminated unexpectedly')],
    ['a pool without a free connection', new Error('timeout exceeded when trying to connect')],
    [
      'a transaction that expired',
      Object.assign(new Error('expired'), { code: 'P2028', name: 'PrismaClientKnownRequestError' }),
    ],
  ])('%s', async (_, error) => {
    expect(databaseFailure(error)).toMatchObject({ retryable: true })
    const work = applying(at(4, () => Promise.reject(error)))
    await expect(handle(ten(), work)).rejects.toMatchObject({ retryable: true })
    expect([await applied(), await letters()]).toEqual([[], []])
  })

  it('a backend that is ended in the middle of the work', async () => {
    const work = applying(
      at(4, async (tx) => {
        const [own] = await tx.query<{ pid: number }>(sql`select pg_backend_pid() as pid`)
        await test.db.query(sql`select pg_terminate_backend(${own?.pid ?? 0}::int)`)
      }),
    )
    await expect(handle(ten(), work)).rejects.toMatchObject({ retryable: true })
    expect([await applied(), await letters()]).toEqual([[], []])
  })

  it('a database that was not migrated ends the process instead, with the sentence that says so', async () => {
    const work = applying(at(4, (tx) => tx.execute(sql`insert into nowhere values (1)`)))
    await expect(handle(ten(), work)).rejects.toMatchObject({ code: 'DATABASE_NOT_MIGRATED' })
    expect([await applied(), await letters()]).toEqual([[], []])
  })
})
