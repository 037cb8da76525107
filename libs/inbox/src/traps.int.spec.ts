import { randomUUID } from 'node:crypto'
import { type Tx, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx, readWaiting } from '@likewise/database/testing'
import type { LikeEvent } from '@likewise/events'
import { pause } from '@likewise/service'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { handleBatch } from './handle-batch.ts'
import type { InboxRecord } from './judgement.ts'
import { lockMark, readMarks } from './offsets.ts'
import type { BatchOutcome } from './piece.ts'
import { dayMs, horizon, idAt, idOf, likeRecord } from './testing.ts'

const topic = 'catalog-events'
let test: TestDatabase
let consumer: string

beforeAll(async () => {
  test = await freshDatabase('inbox_traps')
  await test.db.execute(
    sql`create table applied (consumer text, n bigint, at bigint generated always as identity); grant select, insert on applied to public`,
  )
})
afterAll(() => test.drop())
beforeEach(() => {
  consumer = `test-${randomUUID()}`
})

const scope = () => ({ consumer, topic, partition: 0 })

/** Applies events; `meet` is awaited inside the transaction, before the first one. */
const applying =
  (meet: (tx: Tx) => Promise<unknown> = () => Promise.resolve()) =>
  async (tx: Tx, fresh: readonly LikeEvent[]): Promise<void> => {
    await meet(tx)
    for (const { data } of fresh)
      await tx.execute(
        sql`insert into applied (consumer, n) values (${consumer}, ${data.userId - 1}::bigint)`,
      )
  }
const handle = (records: readonly InboxRecord[], work = applying()): Promise<BatchOutcome> =>
  handleBatch(test.as('likewise_consumer'), { scope: scope(), records, horizon, work })

async function applied(): Promise<number[]> {
  const rows = await test.db.query<{ n: bigint }>(
    sql`select n from applied where consumer = ${consumer} order by at`,
  )
  return rows.map(({ n }) => Number(n))
}
const mark = async () =>
  Number((await readMarks(test.as('likewise_consumer'), consumer, topic))[0]?.nextOffset)
const letters = () =>
  test.db.query<{ offset: bigint; reason: string; resolution: string | null }>(sql`
    select record_offset as offset, reason, resolution from metrics.dead_letters
    where consumer = ${consumer} order by record_offset`)
const broken = (offset: number, productId: number): InboxRecord => ({
  ...likeRecord(offset, productId),
  value: Buffer.from('{'),
})

/** What a redrive does at its end, in its own transaction. */
const free = (tx: Pick<Tx, 'execute'>) =>
  tx.execute(sql`
    update metrics.dead_letters set resolved_at = now(), resolution = 'redriven'
    where consumer = ${consumer} and resolved_at is null`)

/** Waits until somebody waits for a lock of this database. */
async function untilLocked(): Promise<void> {
  while ((await readWaiting(test.db)).length === 0) await pause(5)
}

function latch() {
  let open = (): void => undefined
  const opened = new Promise<void>((resolve) => (open = resolve))
  return { opened, open: () => open() }
}

describe('a redrive and a batch of the same key', () => {
  it('do not miss each other: a batch that waited for the redrive sees the key that it freed', async () => {
    await handle([broken(0, 7), likeRecord(1, 7)])
    const redrive = await openTx(test.db)
    await lockMark(redrive.tx, scope())
    const batch = handle([likeRecord(2, 7), likeRecord(3, 8)])
    await untilLocked()
    await free(redrive.tx)
    await redrive.commit()
    expect(await batch).toMatchObject({ handled: 2, parked: [] })
    expect(await applied()).toEqual([2, 3])
  })

  it('nor does a redrive miss what a batch before it parked behind the key', async () => {
    await handle([broken(0, 7)])
    const [reached, goOn] = [latch(), latch()]
    const batch = handle(
      [likeRecord(1, 7), likeRecord(2, 8)],
      applying(async () => {
        reached.open()
        await goOn.opened
      }),
    )
    await reached.opened
    const redrive = test.db.tx(async (tx) => {
      await lockMark(tx, scope())
      return free(tx)
    })
    await untilLocked()
    goOn.open()
    expect(await batch).toMatchObject({ handled: 1, parked: [{ offset: 1n, reason: 'behind_parked' }] })
    expect(await redrive).toBe(2)
    expect(await handle([likeRecord(3, 7)])).toMatchObject({ handled: 1, parked: [] })
  })
})

describe('a member that slept and wakes up (I10)', () => {
  it('changes nothing with a batch that another has handled since, nor moves the mark back', async () => {
    const stale = [likeRecord(0), likeRecord(1), broken(2, 9)]
    await handle([...stale, likeRecord(3), likeRecord(4)])
    const before = [await applied(), await letters(), await mark()]
    expect(await handle(stale)).toMatchObject({ handled: 0, skipped: 3, parked: [] })
    expect([await applied(), await letters(), await mark()]).toEqual(before)
  })

  it('loses the transaction it slept in; whoever handled the batch meanwhile has counted it once', async () => {
    const batch = [likeRecord(0), likeRecord(1)]
    const [asleep, wake] = [latch(), latch()]
    let pid = 0
    const sleeper = handle(
      batch,
      applying(async (tx) => {
        const [own] = await tx.query<{ pid: number }>(sql`select pg_backend_pid() as pid`)
        pid = own?.pid ?? 0
        asleep.open()
        await wake.opened
      }),
    ).catch((error: unknown) => error)
    await asleep.opened
    const other = handle(batch)
    await untilLocked()
    // As the server does by itself after idle_in_transaction_session_timeout.
    await test.db.query(sql`select pg_terminate_backend(${pid}::int)`)
    expect(await other).toMatchObject({ handled: 2 })
    wake.open()
    expect(await sleeper).toMatchObject({ retryable: true })
    expect(await handle(batch)).toMatchObject({ handled: 0, skipped: 2 })
    expect(await applied()).toEqual([0, 1])
  })
})

it('an id twice in one poll has its effect once, whichever key it comes with (I2)', async () => {
  const one = likeRecord(0, 7)
  expect(await handle([one, likeRecord(1, 7, idOf(one)), likeRecord(2, 8, idOf(one))])).toMatchObject({
    handled: 1,
    duplicates: 2,
  })
  expect(await applied()).toEqual([0])
})

it('a replay from the beginning, twice, parks nothing twice and changes nothing (I2)', async () => {
  const records = [
    likeRecord(0, 1),
    broken(1, 2),
    likeRecord(2, 2),
    likeRecord(3, 1, idAt(Date.now() - 31 * dayMs)),
    likeRecord(4, 1, idAt(Date.now() + 2 * dayMs)),
    { ...likeRecord(5, 1), headers: { ...likeRecord(5, 1).headers, ce_id: randomUUID() } },
    likeRecord(6, 1),
    likeRecord(7, 3),
    broken(8, 3), // its key had an effect before
    likeRecord(9, 3),
  ]
  await handle(records)
  const before = [await applied(), await letters(), await mark()]
  expect(before[0]).toEqual([0, 6, 7])
  for (let replay = 0; replay < 2; replay += 1) {
    await test.db.execute(
      sql`update metrics.consumer_offsets set next_offset = 0 where consumer = ${consumer}`,
    )
    for (const part of [records.slice(0, 4), records.slice(4)]) await handle(part)
    expect([await applied(), await letters(), await mark()]).toEqual(before)
  }
})

it('a second copy of an event is a duplicate also where its key waits by then: it is not parked (I2, I9)', async () => {
  const one = likeRecord(0, 7)
  await handle([one, likeRecord(1, 8)])
  const again = (offset: number) => likeRecord(offset, 7, idOf(one))
  expect(await handle([again(2), broken(3, 7), again(4), likeRecord(5, 7)])).toMatchObject({
    ...{ handled: 0, duplicates: 2 },
    parked: [{ offset: 3n }, { offset: 5n, reason: 'behind_parked' }],
  })
  expect(await handle([again(6), likeRecord(7, 8)])).toMatchObject({ handled: 1, duplicates: 1, parked: [] })
})
