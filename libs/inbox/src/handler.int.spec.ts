import { randomUUID } from 'node:crypto'
import { type Tx, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx } from '@likewise/database/testing'
import type { LikeEvent } from '@likewise/events'
import { Failure, buildLogger, buildTelemetry } from '@likewise/service'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { type HandlerBatch, buildHandler } from './handler.ts'
import type { InboxRecord } from './judgement.ts'
import { lockMark, readMarks } from './offsets.ts'
import { dayMs, horizon, idAt, idOf, likeRecord } from './testing.ts'

const topic = 'catalog-events'
const stopping = new AbortController().signal
let test: TestDatabase
let consumer: string
let applied: number[]
let lines: { level: string; msg: string; why?: string; missing?: string }[]
let processes: ReturnType<typeof buildTelemetry>[]

beforeAll(async () => {
  test = await freshDatabase('handler')
})
afterAll(() => test.drop())
beforeEach(() => {
  consumer = `test-${randomUUID()}`
  applied = []
  lines = []
  processes = []
})

const work = async (_tx: Tx, fresh: readonly LikeEvent[]): Promise<void> => {
  applied.push(...fresh.map(({ data }) => data.userId - 1))
}

/** A new process. */
function start(by: typeof work = work) {
  const telemetry = buildTelemetry('test')
  processes.push(telemetry)
  return buildHandler({
    ...{ db: test.as('likewise_consumer'), consumer, horizon, telemetry, work: by, transactionsAtOnceMax: 3 },
    log: buildLogger(
      { service: 'test', level: 'debug' },
      { write: (line) => void lines.push(JSON.parse(line) as (typeof lines)[number]) },
    ),
  })
}

function batch(
  records: readonly InboxRecord[],
  logEnd: number,
  more: Partial<HandlerBatch> = {},
): HandlerBatch {
  return { topic, partition: 0, records, logEnd: BigInt(logEnd), isFirst: true, stopping, ...more }
}

/**
 * A broker's log: what a member gets that reads from an offset, or from the beginning where there is no such offset.
 * `shown`: up to where its leader knows that the other replicas have it; who reads from there on waits.
 */
function logOf(records: readonly InboxRecord[], shown = Infinity) {
  const end = Number(records.at(-1)?.offset ?? -1n) + 1
  return async (process: ReturnType<typeof start>, from: number): Promise<number[]> => {
    const reads: number[] = []
    for (let at = from, isFirst = true; ; isFirst = false) {
      reads.push(at)
      if (reads.length > 5) throw new Error('it goes round in circles')
      const inRange = at <= end && BigInt(at) >= (records[0]?.offset ?? 0n)
      const wanted = records.filter(({ offset }) => !inRange || offset >= BigInt(at))
      const got = wanted.filter(({ offset }) => offset < shown)
      const readFrom = await process(batch(got, Math.min(end, shown), { isFirst }))
      if (readFrom === undefined) return reads
      at = Number(readFrom)
    }
  }
}

const likes = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => likeRecord(from + i, 100 + from + i))
const mark = async () =>
  Number((await readMarks(test.as('likewise_consumer'), consumer, topic))[0]?.nextOffset)
const told = (level: string) => lines.filter((line) => line.level === level)
/** Of all processes. */
async function counted(line: string): Promise<number> {
  const texts = await Promise.all(processes.map((telemetry) => telemetry.text()))
  const values = texts.flatMap((text) => text.split('\n').filter((one) => one.startsWith(`${line} `)))
  return values.reduce((sum, one) => sum + Number(one.split(' ').at(-1)), 0)
}

describe('a partition that is taken over', () => {
  it('goes on behind the mark, after a look at the record before it', async () => {
    const log = likes(6)
    await logOf(log.slice(0, 4))(start(), 0)
    expect(await logOf(log)(start(), 4)).toEqual([4, 3])
    expect([applied, await mark()]).toEqual([[0, 1, 2, 3, 4, 5], 6])
    expect([...told('warn'), ...told('error')]).toEqual([])
  })

  it('is looked at once: later batches are handled as they come', async () => {
    const process = start()
    expect(await process(batch(likes(2), 2))).toBeUndefined()
    expect(await process(batch(likes(2, 2), 4, { isFirst: false }))).toBeUndefined()
    expect(applied).toEqual([0, 1, 2, 3])
  })

  it('has each effect once where the broker begins at an offset long past, or forgot it (I2)', async () => {
    const log = likes(6)
    await logOf(log.slice(0, 4))(start(), 0)
    await logOf(log)(start(), 1)
    await logOf(log)(start(), 0)
    expect([applied, await mark()]).toEqual([[0, 1, 2, 3, 4, 5], 6])
  })
})

it('a process that slept with its first batch in hand, while others handled what came after it, does not take the log for another one (I10)', async () => {
  const log = likes(6)
  const sleeper = start()
  const inHand = batch(log.slice(0, 2), 2)
  await logOf(log.slice(0, 4))(start(), 0)
  const readFrom = await sleeper(inHand)
  expect(readFrom).toBe(1n)
  await logOf(log)(start(), 4)
  expect(await sleeper(batch(log.slice(1, 4), 4, { isFirst: false }))).toBe(3n)
  expect(await sleeper(batch(log.slice(3), 6, { isFirst: false }))).toBeUndefined()
  expect([applied, await mark()]).toEqual([[0, 1, 2, 3, 4, 5], 6])
  expect(told('error')).toEqual([])
  expect(await counted('likewise_inbox_log_resets_total')).toBe(0)
})

it('a new leader that shows an earlier end than the one before it is waited for, and not taken for another log (I2)', async () => {
  const log = likes(7)
  await logOf(log.slice(0, 6))(start(), 0)
  const next = start()
  expect(await logOf(log.slice(0, 6), 4)(next, 3)).toEqual([3, 3, 6])
  // It has caught up, and another like has come.
  expect(await next(batch(log.slice(6), 7, { isFirst: false }))).toBe(5n)
  expect(await next(batch(log.slice(5), 7, { isFirst: false }))).toBeUndefined()
  expect([applied, await mark()]).toEqual([[0, 1, 2, 3, 4, 5, 6], 7])
  expect(told('error')).toEqual([])
  expect(await counted('likewise_inbox_log_resets_total')).toBe(0)
})

it('a database that was restored is read on from its own mark, not from the offset that the broker keeps', async () => {
  const log = likes(8)
  await logOf(log.slice(0, 3))(start(), 0)
  expect(await logOf(log)(start(), 6)).toEqual([6, 2])
  expect([applied, await mark()]).toEqual([[0, 1, 2, 3, 4, 5, 6, 7], 8])
  await test.db.execute(sql`delete from metrics.consumer_offsets where consumer = ${consumer}`)
  await test.db.execute(sql`delete from metrics.event_handled where consumer = ${consumer}`)
  applied = []
  expect(await logOf(log)(start(), 8 - 1)).toEqual([7, 0])
  expect(applied).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  expect(told('warn')).toEqual([])
})

describe('a topic that was made again', () => {
  it.each([
    ['shorter than the mark, read from its beginning', 3, 0],
    ['shorter than the mark, asked for an offset it has not', 3, 5],
    ['as long as the mark', 5, 0],
    ['longer than the mark, read from its beginning', 8, 0],
    ['longer than the mark, read from the mark', 8, 5],
  ])('%s: nothing of it is passed over, and it is told', async (_, length, from) => {
    await logOf(likes(5))(start(), 0)
    applied = []
    const fresh = likes(length)
    await logOf(fresh)(start(), from)
    expect(applied).toEqual(fresh.map((__, i) => i))
    expect(await mark()).toBe(length)
    expect(told('error')).toMatchObject([{ msg: expect.stringContaining('another log'), why: expect.any(String) }]) // prettier-ignore
    expect(await counted('likewise_inbox_log_resets_total')).toBe(1)
  })

  it('while it is read, without a new assignment, is noticed by its offsets', async () => {
    const process = start()
    await process(batch(likes(5), 5))
    applied = []
    const fresh = likes(2)
    expect(await process(batch(fresh, 2, { isFirst: false }))).toBe(1n)
    expect(await process(batch(fresh.slice(1), 2, { isFirst: false }))).toBe(5n)
    // There is no such offset: it begins anew.
    expect(await process(batch(fresh, 2, { isFirst: false }))).toBe(0n)
    expect(await process(batch(fresh, 2, { isFirst: false }))).toBeUndefined()
    expect(applied).toEqual([0, 1])
  })

  const broken = (offset: number) => ({ ...likeRecord(offset, 7), value: Buffer.from('{') })
  it.each([
    ['a record that nobody can read', broken(4)],
    ['a record of another family', { ...likeRecord(4), headers: { ce_type: 'other' } }],
    ['an event that is too old', likeRecord(4, 100, idAt(Date.now() - 31 * dayMs))],
  ])('behind %s is told from it by that record', async (_, last) => {
    await logOf([...likes(4), last])(start(), 0)
    expect(await logOf([...likes(4), last])(start(), 5)).toEqual([5])
    applied = []
    const fresh = likes(8)
    await logOf(fresh)(start(), 5)
    expect(applied).toEqual(fresh.map((__, i) => i))
    expect(told('error')).toMatchObject([{ why: expect.stringMatching(/^offset 4 holds .* instead of 4:/) }])
  })

  it('behind a mark that the version before has moved is not taken for another one by what stood there before', async () => {
    const log = [...likes(2), broken(2), likeRecord(3), broken(4), likeRecord(5)]
    await logOf(log.slice(0, 3))(start(), 0)
    await test.db.execute(sql`
      update metrics.consumer_offsets set next_offset = 5, last_event_id = null where consumer = ${consumer}`)
    await logOf(log)(start(), 5)
    expect(await mark()).toBe(6)
    expect(told('error')).toEqual([])
  })

  it('and filled with the same events again: each has its effect once (I2)', async () => {
    const old = likes(5)
    await logOf(old)(start(), 0)
    const again = [old[4]!, old[1]!, likeRecord(9, 300)].map((record, i) => ({
      ...record,
      offset: BigInt(i),
    }))
    await logOf(again)(start(), 5)
    expect(applied).toEqual([0, 1, 2, 3, 4, 9])
    expect(await mark()).toBe(3)
  })

  it('keeps the dead letters of the old one, before those of the new one at the same offsets', async () => {
    const broken = (offset: number) => ({ ...likeRecord(offset, 7), value: Buffer.from('{') })
    const letters = async () =>
      (
        await test.db.query<{ offset: bigint; id: string }>(sql`
          select record_offset as offset, event_id::text as id from metrics.dead_letters
          where consumer = ${consumer} order by record_offset`)
      ).map(({ offset, id }) => [Number(offset), id])
    const logs = [0, 1, 2].map(() => [broken(0), likeRecord(1, 8), broken(2), likeRecord(3, 8)])
    for (const log of logs) await logOf(log)(start(), 0)
    const kept = await letters()
    expect(kept.map(([, id]) => id)).toEqual(logs.flatMap((log) => [idOf(log[0]!), idOf(log[2]!)]))
    expect(kept.slice(-2).map(([offset]) => offset)).toEqual([0, 2])
    expect(kept.slice(0, -2).every(([offset]) => Number(offset) < 0)).toBe(true)
  })
})

it('the dead letters of a log that was made again move a part at a time, each within the time of a statement', async () => {
  await logOf(likes(3))(start(), 0)
  await test.db.execute(sql`
    insert into metrics.dead_letters (consumer, topic, partition, record_offset, reason, detail, blocks_key)
    select ${consumer}, ${topic}, 0, n, 'not_json', 'x', false from generate_series(1000, 26000) as n`)
  await test.db.execute(sql`
    create function at_most_10000() returns trigger language plpgsql as $$ begin
      if (select count(*) from moved) > 10000 then raise exception 'too many at once'; end if;
      return null;
    end $$`)
  await test.db.execute(sql`
    create trigger at_most_10000 after update on metrics.dead_letters referencing new table as moved
    for each statement execute function at_most_10000()`)
  try {
    await logOf(likes(2))(start(), 0)
  } finally {
    await test.db.execute(sql`drop trigger at_most_10000 on metrics.dead_letters`)
  }
  const [moved] = await test.db.query(sql`
    select min(record_offset)::int as first, max(record_offset)::int as last, count(*)::int as count
    from metrics.dead_letters where consumer = ${consumer}`)
  expect(moved).toEqual({ first: -25001, last: -1, count: 25001 })
})

it('records that the broker removed before they were read are told with their number; reading goes on behind them', async () => {
  await logOf(likes(3))(start(), 0)
  await logOf(likes(4, 10))(start(), 3)
  expect([applied, await mark()]).toEqual([[0, 1, 2, 10, 11, 12, 13], 14])
  expect(told('warn')).toMatchObject([{ missing: '7' }])
  expect(await counted('likewise_inbox_missing_records_total')).toBe(7)
})

describe('small batches of several partitions', () => {
  /** Batches that a process has looked at before, as in the course of a day. */
  async function running(partitions: number, by: typeof work = work) {
    const process = start(by)
    for (let partition = 0; partition < partitions; partition += 1)
      await process(batch([likeRecord(0, 100 + partition)], 1, { partition }))
    applied = []
    return (partition: number, records: InboxRecord[]) =>
      process(batch(records, 1_000, { partition, isFirst: false }))
  }
  const marks = async () =>
    (await readMarks(test.as('likewise_consumer'), consumer, topic)).map(({ nextOffset }) =>
      Number(nextOffset),
    )

  it('share a transaction, and each has its own mark', async () => {
    let runs = 0
    const handle = await running(5, async (tx, fresh) => {
      runs += 1
      await work(tx, fresh)
    })
    runs = 0
    await Promise.all([0, 1, 2, 3, 4].map((p) => handle(p, [likeRecord(1 + p, 100 + p)])))
    expect([runs, applied, await marks()]).toEqual([1, [1, 2, 3, 4, 5], [2, 3, 4, 5, 6]])
  })

  it('count an id once that is in two of them, and nothing that is delivered again (I2)', async () => {
    const handle = await running(3)
    const [one, other] = [likeRecord(1, 100), likeRecord(1, 101)]
    const copy = likeRecord(1, 102, idOf(one))
    const all = () => Promise.all([handle(0, [one]), handle(1, [other]), handle(2, [copy])])
    await all()
    await all()
    expect([applied, await marks()]).toEqual([
      [1, 1],
      [2, 2, 2],
    ])
    expect(await counted('likewise_inbox_records_total{result="duplicate"}')).toBe(1)
  })

  it('go apart where one has to be parked, or its key waits, and none is held up by it (I9)', async () => {
    const handle = await running(3)
    const broken = { ...likeRecord(1, 100), value: Buffer.from('{') }
    await Promise.all([handle(0, [broken]), handle(1, [likeRecord(2, 101)]), handle(2, [likeRecord(3, 102)])])
    expect(applied.sort()).toEqual([2, 3])
    await Promise.all([
      handle(0, [likeRecord(4, 100), likeRecord(5, 200)]),
      handle(1, [likeRecord(6, 101)]),
      handle(2, [likeRecord(7, 102)]),
    ])
    expect([applied.sort(), await marks()]).toEqual([
      [2, 3, 5, 6, 7],
      [6, 7, 8],
    ])
  })

  it('do not wait with one whose partition a redrive holds', async () => {
    const handle = await running(3)
    const redrive = await openTx(test.db)
    await lockMark(redrive.tx, { consumer, topic, partition: 1 })
    const waiting = handle(1, [likeRecord(1, 101)])
    await Promise.all([handle(0, [likeRecord(2, 100)]), handle(2, [likeRecord(3, 102)])])
    expect(applied).toEqual([2, 3])
    await redrive.commit()
    await waiting
    expect([applied, await marks()]).toEqual([
      [2, 3, 1],
      [3, 2, 4],
    ])
  })

  it('go apart where the work fails, and only the one at fault is parked (I9)', async () => {
    const handle = await running(3, async (tx, fresh) => {
      if (fresh.some(({ data }) => data.userId - 1 === 2)) throw new TypeError('a bug')
      await work(tx, fresh)
    })
    await Promise.all([0, 1, 2].map((p) => handle(p, [likeRecord(1 + p, 100 + p)])))
    expect([applied.sort(), await marks()]).toEqual([
      [1, 3],
      [2, 3, 4],
    ])
    expect(await counted('likewise_inbox_records_total{result="parked"}')).toBe(1)
  })

  it('wait together for an outage to end: nothing is parked, and each comes again', async () => {
    let isAway = false
    const handle = await running(3, async (tx, fresh) => {
      if (isAway) throw new Failure('DATABASE_UNAVAILABLE', 'away')
      await work(tx, fresh)
    })
    const batches = [0, 1, 2].map((p) => [likeRecord(1, 100 + p)])
    isAway = true
    const tries = await Promise.allSettled(batches.map((records, p) => handle(p, records)))
    expect(tries.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
    isAway = false
    await Promise.all(batches.map((records, p) => handle(p, records)))
    expect([applied, await marks()]).toEqual([
      [1, 1, 1],
      [2, 2, 2],
    ])
  })
})

it('a batch that is taken to pieces says that it gets on with each of them', async () => {
  let said = 0
  const process = start(async () => Promise.reject(new TypeError('a bug')))
  await process(batch(likes(8), 8, { gotOn: () => void (said += 1) }))
  expect(said).toBe(8)
})

describe('an outage', () => {
  it('is no death: tried again by the same process, a batch is not taken to pieces', async () => {
    let tries = 0
    const sizes: number[] = []
    const process = start(async (_tx, fresh) => {
      sizes.push(fresh.length)
      if ((tries += 1) < 4) throw new Failure('DATABASE_UNAVAILABLE', 'away')
    })
    const one = batch(likes(5), 5)
    for (let i = 0; i < 3; i += 1) await expect(process(one)).rejects.toMatchObject({ retryable: true })
    await process(one)
    expect(sizes).toEqual([5, 5, 5, 5])
  })

  it('of a record that is in hand alone parks nothing, however often it is tried', async () => {
    let tries = 0
    const process = start(async () => {
      if ((tries += 1) < 6) throw new Failure('DATABASE_BUSY', 'busy')
    })
    for (let i = 0; i < 5; i += 1)
      await expect(process(batch(likes(1), 1))).rejects.toMatchObject({ retryable: true })
    await process(batch(likes(1), 1))
    expect(await counted('likewise_inbox_records_total{result="handled"}')).toBe(1)
  })

  it('among records that go one by one holds up the one it meets: those before it are not gone through again', async () => {
    const log = likes(8)
    await logOf(log.slice(0, 4))(start(), 0)
    const begun = () =>
      test.db.execute(sql`
        update metrics.consumer_offsets set started_offset = next_offset, started_end = 7, starts = 1
        where consumer = ${consumer}`)
    await begun()
    let outages = 3
    const process = start(async (tx, fresh) => {
      if (fresh.some(({ data }) => data.userId === 6) && outages-- > 0) throw new Failure('DATABASE_BUSY', 'busy') // prettier-ignore
      await work(tx, fresh)
    })
    for (let isFirst = true; outages > 0; isFirst = false) {
      await expect(process(batch(log, 8, { isFirst }))).rejects.toMatchObject({ retryable: true })
    }
    await begun() // somebody else has died at the same record meanwhile
    await process(batch(log, 8))
    expect([applied, await mark()]).toEqual([[0, 1, 2, 3, 4, 5, 6, 7], 8])
    // 4 to 6 of the eight that are in hand; then 5 and 6.
    const counts = lines.filter(({ msg }) => msg.startsWith('a process ended in this batch'))
    expect(counts.map((line) => (line as { count?: number }).count)).toEqual([3, 2, 2, 2])
  })

  it('of a record that is in hand alone is no death of the processes that wait it out and stop in order', async () => {
    const starts = async () =>
      (await test.db.query(sql`select starts from metrics.consumer_offsets where consumer = ${consumer}`))[0]
    const busy = async () => Promise.reject(new Failure('DATABASE_BUSY', 'busy'))
    for (let i = 0; i < 4; i += 1)
      await expect(start(busy)(batch(likes(1), 1))).rejects.toMatchObject({ retryable: true })
    expect(await starts()).toEqual({ starts: 0 })
    // One that was killed has left its note: that stays.
    await test.db.execute(sql`update metrics.consumer_offsets set starts = 1 where consumer = ${consumer}`)
    await expect(start(busy)(batch(likes(1), 1))).rejects.toMatchObject({ retryable: true })
    expect(await starts()).toEqual({ starts: 1 })
    await start()(batch(likes(1), 1))
    expect([applied, await counted('likewise_inbox_records_total{result="parked"}')]).toEqual([[0], 0])
  })
})
