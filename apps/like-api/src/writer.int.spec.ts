import { type Database, connectDatabase, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx, urlAs, readWaiting } from '@likewise/database/testing'
import { buildTelemetry, pause } from '@likewise/service'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { firstLockWaitMs } from './carry-out.ts'
import type { Write } from './write.ts'
import { type Writer, type WriterLimits, startWriter } from './writer.ts'

let test: TestDatabase
let writers: Writer[] = []

beforeAll(async () => {
  test = await freshDatabase('like_writer')
})
afterAll(() => test.drop())
beforeEach(async () => {
  await Promise.all(writers.map((writer) => writer.stop()))
  writers = []
  await test.db.execute(sql`truncate catalog.likes, catalog.outbox_events, catalog.idempotency_keys`)
})

const patient: WriterLimits = { batchSizeMax: 256, waitingMax: 5_000, answerWithinMs: 10_000 }

function start(limits: Partial<WriterLimits> = {}, db = test.as('likewise_api')): Writer {
  const writer = startWriter({ db, telemetry: buildTelemetry('test'), limits: { ...patient, ...limits } })
  writers.push(writer)
  return writer
}

/** As like-api connects. */
const connect = (applicationName: string): Database =>
  connectDatabase({
    url: urlAs('likewise_api', test.url),
    poolSizeMax: 4,
    connectTimeoutMs: 700,
    statementTimeoutMs: 2_000,
    lockTimeoutMs: firstLockWaitMs,
    applicationName,
  })

const like = (userId: number, productId = 100): Write => ({ userId, productId, liked: true })
const unlike = (userId: number, productId = 100): Write => ({ userId, productId, liked: false })
const range = (n: number, from = 1) => Array.from({ length: n }, (_, i) => from + i)

const likes = async (): Promise<number[]> =>
  (await test.db.query<{ id: number }>(sql`select user_id::int as id from catalog.likes order by 1`)).map(
    ({ id }) => id,
  )

const events = () =>
  test.db.query<{ userId: number; type: string; xid: string }>(sql`
    select (payload->>'userId')::int as "userId", split_part(event_type, '.', 3) as type, xid::text as xid
    from catalog.outbox_events order by seq`)

async function lockWaiters(count: number): Promise<void> {
  while ((await readWaiting(test.db)).length < count) await pause(5)
}

describe('likes that come together', () => {
  it('are one transaction, and its events lie in the order in which they came', async () => {
    const writer = start()
    await Promise.all(range(50).map((userId) => writer.write(like(userId))))
    const written = await events()
    expect(written.map(({ userId }) => userId)).toEqual(range(50))
    expect(new Set(written.map(({ xid }) => xid)).size).toBe(1)
  })

  it('take no more transactions than two in flight and what gathers behind them', async () => {
    const writer = start()
    const answered: Promise<unknown>[] = []
    for (const userId of range(300)) {
      answered.push(writer.write(like(userId)))
      if (userId % 10 === 0) await new Promise(setImmediate)
    }
    await Promise.all(answered)
    const written = await events()
    expect(written).toHaveLength(300)
    expect(new Set(written.map(({ xid }) => xid)).size).toBeLessThan(30)
  })

  it('go in several transactions where they are more than a batch', async () => {
    const writer = start({ batchSizeMax: 20 })
    await Promise.all(range(50).map((userId) => writer.write(like(userId))))
    expect(new Set((await events()).map(({ xid }) => xid)).size).toBe(3)
  })

  it('are answered one by one: what is new, and what was there', async () => {
    const writer = start()
    await writer.write(like(2))
    const answers = await Promise.all([like(1), like(2), unlike(3), like(3), unlike(2)].map(writer.write))
    expect(answers).toEqual([true, false, false, true, true].map((changed) => ({ changed })))
    expect(await likes()).toEqual([1, 3])
  })
})

describe('a key that two requests touch in the same moment', () => {
  it('like, then unlike, with both batches in flight: it ends unliked', async () => {
    const writer = start()
    const open = await openTx(test.db) // keeps the first batch in flight
    await open.tx.execute(sql`insert into catalog.likes (user_id, product_id) values (999, 100)`)
    const first = Promise.all([writer.write(like(1)), writer.write(like(999))])
    await lockWaiters(1)
    const second = writer.write(unlike(1))
    // A second batch is free to fly, as soon as it has as many as the first, and has flown.
    const others = await Promise.all([writer.write(like(2)), writer.write(like(3))])
    expect(others).toEqual([{ changed: true }, { changed: true }])
    await open.commit()
    expect(await first).toEqual([{ changed: true }, { changed: false }])
    expect(await second).toEqual({ changed: true })
    expect(await likes()).toEqual([2, 3, 999])
    expect((await events()).filter(({ userId }) => userId === 1).map(({ type }) => type)).toEqual([
      'added',
      'removed',
    ])
  })

  it('a batch that hangs keeps nobody: a single like goes beside it', async () => {
    await test.db.execute(sql`
      create function dawdle() returns trigger language plpgsql as 'begin perform pg_sleep(3); return new; end'`)
    await test.db.execute(sql`
      create trigger dawdles before insert on catalog.likes for each row when (new.user_id = 64) execute function dawdle()`)
    const writer = start()
    let isOver = false
    const hanging = Promise.all(range(64).map((n) => writer.write(like(n)))).then(() => (isOver = true))
    expect(await writer.write(like(1_000))).toEqual({ changed: true })
    expect(isOver).toBe(false)
    await hanging
    await test.db.execute(sql`drop trigger dawdles on catalog.likes`)
  })

  it('many equal likes are one row of one batch; one of them is told that it is new', async () => {
    const writer = start()
    const answers = await Promise.all(range(500).map(() => writer.write(like(1))))
    expect(answers.filter((answer) => answer !== 'key reused' && answer.changed)).toHaveLength(1)
    expect(await events()).toHaveLength(1)
  })

  it('likes and unlikes by turns all have their effect, in order', async () => {
    const writer = start()
    const steps = range(40).map((n) => (n % 2 === 1 ? like(1) : unlike(1)))
    const answers = await Promise.all(steps.map(writer.write))
    expect(answers.every((answer) => answer !== 'key reused' && answer.changed)).toBe(true)
    expect((await events()).map(({ type }) => type)).toEqual(
      steps.map(({ liked }) => (liked ? 'added' : 'removed')),
    )
    expect(await likes()).toEqual([])
  })
})

describe('neighbours in a batch', () => {
  it('those that violate a constraint fail alone', async () => {
    await test.db.execute(sql`alter table catalog.likes add constraint no_thirteen check (user_id % 13 <> 0)`)
    const writer = start()
    const users = range(100)
    const answers = await Promise.allSettled(users.map((userId) => writer.write(like(userId))))
    await test.db.execute(sql`alter table catalog.likes drop constraint no_thirteen`)
    const refused = users.filter((_, i) => answers[i]?.status === 'rejected')
    expect(refused).toEqual(users.filter((userId) => userId % 13 === 0))
    expect(answers.find(({ status }) => status === 'rejected')).toMatchObject({
      reason: { code: 'DATABASE_REFUSED', details: { constraint: 'no_thirteen' } },
    })
    expect(await likes()).toEqual(users.filter((userId) => userId % 13 !== 0))
    expect(await events()).toHaveLength(93)
  })

  it.each([
    ['to be liked', like, sql`insert into catalog.likes (user_id, product_id) values (50, 100)`],
    ['to be unliked', unlike, sql`delete from catalog.likes where user_id = 50`],
  ])('a row %s that somebody else has locked delays only itself', async (_, write, lock) => {
    const writer = start()
    const users = range(100)
    if (write === unlike) await Promise.all(users.map((userId) => writer.write(like(userId))))
    const open = await openTx(test.db)
    await open.tx.execute(lock)
    let isAnswered = false
    const blocked = writer.write(write(50)).finally(() => (isAnswered = true))
    await Promise.all(users.filter((userId) => userId !== 50).map((userId) => writer.write(write(userId))))
    // So do those that come later, while it still waits.
    await Promise.all(range(100, 1_001).map((userId) => writer.write(like(userId))))
    expect(isAnswered).toBe(false)
    await open.commit()
    expect(await blocked).toEqual({ changed: false })
    expect(await likes()).toHaveLength(write === like ? 200 : 100)
  })

  it('a locked row is answered 503 when its time is over, and what it asked for is not done later', async () => {
    const writer = start({ answerWithinMs: 500 })
    const open = await openTx(test.db)
    await open.tx.execute(sql`insert into catalog.likes (user_id, product_id) values (50, 100)`)
    await expect(writer.write(like(50))).rejects.toMatchObject({ retryable: true })
    // For whoever unlikes there is nothing yet; whoever likes waits.
    const waited = Promise.allSettled([writer.write(unlike(50)), writer.write(like(50))])
    await writer.stop()
    expect((await waited).map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
    await open.rollback()
    expect(await likes()).toEqual([])
  })

  it('while the whole table is locked, all are told to come again within a second', async () => {
    const db = connect('locked-writer')
    const writer = start({ answerWithinMs: 900 }, db)
    const open = await openTx(test.db)
    await open.tx.execute(sql`lock table catalog.likes in access exclusive mode`)
    const begunMs = performance.now()
    const answers = await Promise.allSettled(range(300).map((userId) => writer.write(like(userId))))
    expect(performance.now() - begunMs).toBeLessThan(1_500)
    expect(answers.every(({ status }) => status === 'rejected')).toBe(true)
    await open.rollback()
    expect(await writer.write(like(1_000))).toEqual({ changed: true })
    await writer.stop()
    await db.stop()
  })
})

describe('two API processes on one database', () => {
  it('likes and unlikes of the same keys: one event for each change, by turns, and no deadlock', async () => {
    const [one, other] = [start({ batchSizeMax: 32 }), start({ batchSizeMax: 32 })]
    const rounds = range(8).map((n) => (n % 2 === 1 ? like : unlike))
    const send = async (writer: Writer, backwards: boolean) => {
      const users = backwards ? range(100).reverse() : range(100)
      return Promise.all(
        rounds.map((write) => Promise.all(users.map((userId) => writer.write(write(userId))))),
      )
    }
    const answers = (await Promise.all([send(one, false), send(other, true)])).flat(2)
    const written = await events()
    expect(answers.filter((answer) => answer !== 'key reused' && answer.changed)).toHaveLength(written.length)
    for (const userId of range(100)) {
      const types = written.filter((event) => event.userId === userId).map(({ type }) => type)
      expect(types).toEqual(types.map((__, i) => (i % 2 === 0 ? 'added' : 'removed')))
      expect((await likes()).includes(userId)).toBe(types.length % 2 === 1)
    }
  })
})

describe('limits', () => {
  it('more than may wait are refused at once, and a list only as a whole', async () => {
    const writer = start({ waitingMax: 10, batchSizeMax: 5 })
    const answers = await Promise.allSettled(range(40).map((userId) => writer.write(like(userId))))
    const refused = answers.flatMap((answer) =>
      answer.status === 'rejected' ? [answer.reason as unknown] : [],
    )
    expect(refused).toHaveLength(30)
    expect(refused[0]).toMatchObject({ code: 'OVERLOADED', httpStatus: 503 })
    expect(await likes()).toEqual(range(10))
    await expect(writer.writeAll(range(11, 100).map((userId) => like(userId)))).rejects.toMatchObject({
      code: 'OVERLOADED',
    })
    expect(await likes()).toEqual(range(10))
  })

  it('a stop takes no more, and answers all that was taken', async () => {
    const writer = start({ batchSizeMax: 10 })
    const taken = range(60).map((userId) => writer.write(like(userId)))
    const stopped = writer.stop()
    await expect(writer.write(like(1_000))).rejects.toMatchObject({ code: 'OVERLOADED' })
    await stopped
    expect(await Promise.all(taken)).toHaveLength(60)
    expect(await likes()).toHaveLength(60)
  })
})

describe('a batch whose connection broke', () => {
  it('is not run twice, and is told as unknown', async () => {
    const db = connect('broken-writer')
    const writer = start({}, db)
    const open = await openTx(test.db)
    await open.tx.execute(sql`insert into catalog.likes (user_id, product_id) values (1, 100)`)
    const answers = Promise.allSettled(range(20).map((userId) => writer.write(like(userId))))
    await lockWaiters(1)
    await test.db.query(sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where application_name = 'broken-writer' and wait_event_type = 'Lock'`)
    expect(await answers).toEqual(
      range(20).map(() => ({
        status: 'rejected',
        reason: expect.objectContaining({ code: 'DATABASE_UNAVAILABLE' }),
      })),
    )
    await open.rollback()
    await writer.stop()
    expect(await likes()).toEqual([])
    await db.stop()
  })
})
