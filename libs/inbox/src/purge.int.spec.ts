import { type Tx, sql } from '@likewise/database'
import { type TestDatabase, explained, freshDatabase, openTx } from '@likewise/database/testing'
import { buildLogger, buildTelemetry, pause } from '@likewise/service'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { handleOnce } from './handle-once.ts'
import { keepHandled, keptDays, purgeHandled, ringDays } from './purge.ts'
import { dayMs, idAt } from './testing.ts'

let test: TestDatabase
let nowMs: number

beforeAll(async () => {
  test = await freshDatabase('inbox_purge')
})
afterAll(() => test.drop())
beforeEach(async () => {
  await test.db.execute(sql`truncate metrics.event_handled`)
  const [clock] = await test.db.query<{ ms: number }>(
    sql`select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms`,
  )
  nowMs = Math.floor(clock?.ms ?? 0)
})

async function remember(
  ms: readonly number[],
  consumer = 'a',
  db: Pick<Tx, 'execute'> = test.db,
): Promise<void> {
  await db.execute(sql`
    insert into metrics.event_handled (consumer, event_id, slot, event_type, aggregate_type, aggregate_id)
    select ${consumer}, id, metrics.handled_slot(id), 'e', 'a', '1' from unnest(${ms.map(idAt)}::uuid[]) as id`)
}

/** The first and the last millisecond of the day so many days ago. */
const dayOf = (daysAgo: number): number[] => {
  const begin = (Math.floor(nowMs / dayMs) - daysAgo) * dayMs
  return [begin, begin + dayMs - 1]
}
const left = async (): Promise<number> =>
  (await test.db.query(sql`select 1 from metrics.event_handled`)).length

describe('purgeHandled', () => {
  it('empties each day, through a whole turn of the ring, once its last id is past the horizon and a day, never before', async () => {
    for (let daysAgo = -1; daysAgo <= ringDays + 4; daysAgo += 1) {
      // An id that is a day ahead to the millisecond is still judged as of now.
      const ids = dayOf(daysAgo).map((ms) => Math.min(ms, nowMs + dayMs))
      await remember(ids)
      const isPast = Math.max(...ids) < nowMs - keptDays * dayMs
      const purged = await purgeHandled(test.as('likewise_consumer'))
      expect([daysAgo, purged.length, await left()]).toEqual([daysAgo, isPast ? 1 : 0, isPast ? 0 : 2])
      await test.db.execute(sql`truncate metrics.event_handled`)
    }
  })

  it('empties the slot of the days after tomorrow before anyone can ask for them, and none that can be asked for', async () => {
    const days = Array.from({ length: ringDays + 2 }, (_, i) => i - 1)
    for (const daysAgo of days) await remember(dayOf(daysAgo).slice(0, 1))
    await purgeHandled(test.as('likewise_consumer'))
    const rows = await test.db.query<{ age: number }>(sql`
      select (extract(epoch from clock_timestamp() - uuid_extract_timestamp(event_id)) / 86400)::float8 as age
      from metrics.event_handled order by age`)
    const ages = rows.map(({ age }) => age)
    // All of tomorrow to 30 days ago; of what is older, that which shares its slot with tomorrow goes once tomorrow's has.
    for (let daysAgo = -1; daysAgo <= 30; daysAgo += 1) {
      const [begin = 0] = dayOf(daysAgo)
      expect(ages.some((age) => Math.abs(age - (nowMs - begin) / dayMs) < 0.1)).toBe(true)
    }
    const slotAfterTomorrow = (Math.floor(nowMs / dayMs) + 2) % ringDays
    expect(
      await test.db.query(
        sql`select 1 from metrics.event_handled where slot = ${slotAfterTomorrow}::smallint`,
      ),
    ).toEqual([])
  })

  it('keeps a slot in which one consumer has one younger id, and empties it for all when none has', async () => {
    const [old = 0] = dayOf(33)
    const [ahead = 0] = dayOf(-1)
    for (const consumer of ['a', 'b', 'c']) await remember([old, old + 1, old + 2], consumer)
    await remember([ahead], 'b')
    expect(await purgeHandled(test.as('likewise_consumer'))).toEqual([])
    expect(await left()).toBe(10)
    await test.db.execute(
      sql`delete from metrics.event_handled where uuid_extract_timestamp(event_id) > now()`,
    )
    expect(await purgeHandled(test.as('likewise_consumer'))).toHaveLength(1)
    expect(await left()).toBe(0)
  })

  it('does not keep the ids of a slot for the sake of one from far ahead, which stays itself', async () => {
    const [old = 0] = dayOf(33)
    const ahead = old + 20 * ringDays * dayMs
    await remember(Array.from({ length: 6_000 }, (_, i) => old + i))
    for (const consumer of ['a', 'b']) await remember([ahead], consumer)
    expect(await purgeHandled(test.as('likewise_consumer'))).toEqual([
      { slot: expect.any(Number), rowsAbout: 6_000 },
    ])
    expect(await left()).toBe(2)
    expect(await purgeHandled(test.as('likewise_consumer'))).toEqual([])
    const [young = 0] = dayOf(33 - ringDays)
    await remember([old, young], 'c')
    expect(await purgeHandled(test.as('likewise_consumer'))).toEqual([])
  })

  it('never lets a duplicate through: what handleOnce still judges is remembered (I2)', async () => {
    const justInTime = {
      id: idAt(nowMs - 30 * dayMs + 60_000),
      type: 'e',
      aggregateType: 'a',
      aggregateId: '1',
    }
    const work = () => Promise.resolve()
    expect(await handleOnce(test.as('likewise_consumer'), 'a', justInTime, work)).toBe('handled')
    await purgeHandled(test.as('likewise_consumer'))
    expect(await handleOnce(test.as('likewise_consumer'), 'a', justInTime, work)).toBe('duplicate')
  })

  it('leaves a slot into which an id is committed while it waits for its lock', async () => {
    const [old = 0] = dayOf(33)
    const [ahead = 0] = dayOf(-1)
    await remember([old])
    const writer = await openTx(test.db)
    await remember([ahead], 'a', writer.tx)
    const over = new AbortController()
    const purging = purgeHandled(test.as('likewise_consumer')).finally(() => over.abort())
    const waiting = sql`select 1 from pg_locks where not granted and mode = 'AccessExclusiveLock'`
    while ((await test.db.query(waiting)).length === 0 && !over.signal.aborted) await pause(1)
    await writer.commit()
    expect(await purging).toEqual([])
    expect(await left()).toBe(2)
  })

  it('keeps nobody waiting while somebody holds the slot, and gives up for this time when it is stopped', async () => {
    const [old = 0] = dayOf(33)
    await remember([old])
    const reader = await openTx(test.db)
    await reader.tx.query(sql`select count(*) from metrics.event_handled`)
    const stopping = new AbortController()
    let busy = 0
    const purging = purgeHandled(test.as('likewise_consumer'), {
      stopping: stopping.signal,
      onBusy: () => void (busy += 1),
    })
    const waits: number[] = []
    while (busy < 2) {
      const begunMs = performance.now()
      await remember([nowMs])
      waits.push(performance.now() - begunMs)
    }
    stopping.abort()
    expect(await purging).toEqual([])
    await reader.commit()
    expect(Math.max(...waits)).toBeLessThan(1_000)
    expect(await purgeHandled(test.as('likewise_consumer'))).toHaveLength(1)
  }, 30_000)

  it('is harmless when two do it at once', async () => {
    await remember([32, 33].flatMap((daysAgo) => dayOf(daysAgo).slice(0, 1)).map((ms) => ms - dayMs))
    const purged = await Promise.all([1, 2, 3].map(() => purgeHandled(test.as('likewise_consumer'))))
    expect(purged.flat().map(({ slot }) => slot)).toHaveLength(2)
    expect(await left()).toBe(0)
  })

  it('looks at a few rows of each slot, however many there are', async () => {
    for (let daysAgo = 0; daysAgo < 30; daysAgo += 1) {
      const [begin = 0] = dayOf(daysAgo)
      await remember(Array.from({ length: 500 }, (_, i) => begin + i))
    }
    await test.db.execute(sql`analyze metrics.event_handled`)
    const looked = explained(test.db)
    await purgeHandled({ ...test.as('likewise_consumer'), query: looked.query })
    expect(looked.rowsTouched()).toBeLessThan(30 * 40)
  })
})

it('a keeper purges by itself, and tells the slot and its rows', async () => {
  const [old = 0] = dayOf(33)
  await remember([old])
  await test.db.execute(sql`analyze metrics.event_handled`)
  const lines: Record<string, unknown>[] = []
  const telemetry = buildTelemetry('test')
  const write = (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>)
  const log = buildLogger({ service: 'test', level: 'info' }, { write })
  const stop = keepHandled({ db: test.as('likewise_consumer'), everyMs: 3_600_000, log, telemetry })
  while (!(await telemetry.text()).includes('likewise_inbox_purged_slots_total 1\n')) await pause(10)
  await stop()
  expect(lines).toMatchObject([{ slot: Math.floor(old / dayMs) % ringDays, rowsAbout: expect.any(Number) }])
  expect(await left()).toBe(0)
})
