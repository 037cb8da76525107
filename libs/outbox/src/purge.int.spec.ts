import { randomUUID } from 'node:crypto'
import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { enqueue } from './enqueue.ts'
import { readPage } from './page.ts'
import { purgeRing, ringDays } from './purge.ts'
import { takeAllShards } from './testing.ts'
import { settle } from './step.ts'
import { nextWindows } from './window.ts'

const dayMs = 86_400_000
const today = Math.floor(Date.now() / dayMs)
const actor = 'test'
let test: TestDatabase
const owner = randomUUID()
let held: { shard: number; epoch: bigint }[]

beforeEach(async () => {
  test = await freshDatabase('purge')
  held = await takeAllShards(test.db, owner)
})
afterEach(() => test.drop())

/** One event per key, written on a day. */
async function write(day: number, count = 20, db = test.db): Promise<void> {
  await db.execute(sql`
    insert into catalog.outbox_events (shard, slot, aggregate_type, aggregate_id, event_type, topic, partition_key,
                                       payload, created_at)
    select catalog.outbox_shard(k::text), ${day}::bigint % 10, 'product', k::text, 'test.happened.v1', 'test', k::text,
           '{}', to_timestamp(${day}::bigint * 86400 + 60)
    from generate_series(1, ${count}::int) as k`)
}

async function publishAll(): Promise<void> {
  for (const window of await nextWindows(test.as('likewise_relay'), owner, held)) {
    const epoch = held.find(({ shard }) => shard === window.shard)?.epoch ?? 0n
    expect(
      await settle(test.as('likewise_relay'), { owner, epoch }, window, { afterSeq: window.lastSeq }),
    ).not.toBeNull()
  }
}

const daysLeft = async (): Promise<number[]> => {
  const rows = await test.db.query<{ day: number }>(sql`
    select distinct floor(extract(epoch from created_at) / 86400)::int as day from catalog.outbox_events order by day`)
  return rows.map(({ day }) => day - today)
}
const at = (day: number) => new Date(day * dayMs + 3_600_000)

describe('purgeRing', () => {
  it('empties what is past the retention and published, through a whole turn of the ring, and nothing else', async () => {
    for (let day = today; day < today + 2 * ringDays; day += 1) {
      await write(day)
      await publishAll()
      await purgeRing(test.as('likewise_relay'), { retentionDays: 3, actor, now: at(day) })
      const expected = Array.from(
        { length: Math.min(4, day - today + 1) },
        (_, i) => day - today - i,
      ).reverse()
      expect(await daysLeft()).toEqual(expected)
    }
    const audited = await test.db.query(sql`select actor from catalog.outbox_audit where action = 'purge'`)
    expect(audited).toHaveLength(2 * ringDays - 4)
  })

  it('leaves a slot with one event that is not published, and empties it once it is (I1)', async () => {
    await write(today)
    await publishAll()
    await write(today, 1)
    const later = { retentionDays: 1, actor, now: at(today + 4) }
    expect(await purgeRing(test.as('likewise_relay'), later)).toEqual([])
    expect(await daysLeft()).toEqual([0])
    await publishAll()
    expect(await purgeRing(test.as('likewise_relay'), later)).toMatchObject([{ slot: today % ringDays }])
    expect(await daysLeft()).toEqual([])
  })

  it('leaves a slot into which a transaction commits between the check and the lock (I1)', async () => {
    await write(today)
    await publishAll()
    let [commit, begun] = [() => {}, () => {}]
    const mayCommit = new Promise<void>((resolve) => (commit = resolve))
    const isBegun = new Promise<void>((resolve) => (begun = resolve))
    const writing = test.db.tx(async (tx) => {
      await write(today, 1, tx as never)
      begun()
      await mayCommit
    })
    await isBegun
    const over = new AbortController()
    const purging = purgeRing(test.as('likewise_relay'), {
      retentionDays: 1,
      actor,
      now: at(today + 4),
    }).finally(() => over.abort())
    // Committed while the purge waits for its lock, so after it has looked.
    while (!over.signal.aborted) {
      const waiting = sql`select 1 from pg_locks where not granted and mode = 'AccessExclusiveLock'`
      if ((await test.db.query(waiting)).length > 0) commit()
    }
    expect(await purging).toEqual([])
    await writing
    expect(await daysLeft()).toEqual([0])
    await publishAll()
    expect(
      await purgeRing(test.as('likewise_relay'), { retentionDays: 1, actor, now: at(today + 4) }),
    ).toHaveLength(1)
  }, 30_000)

  it('keeps neither writers nor readers waiting while somebody holds the slot', async () => {
    await write(today)
    await publishAll()
    await write(today + 4, 1)
    let release = (): void => {}
    const released = new Promise<void>((resolve) => (release = resolve))
    const reading = test.db.tx(async (tx) => {
      await tx.query(sql`select count(*) from catalog.outbox_events`)
      await released
    })
    const stopping = new AbortController()
    const purging = purgeRing(test.as('likewise_relay'), {
      retentionDays: 1,
      actor,
      now: at(today + 4),
      stopping: stopping.signal,
    })
    const waits: number[] = []
    for (let i = 0; i < 100; i += 1) {
      const begunMs = performance.now()
      const about = { eventType: 'e', aggregateType: 'p', aggregateId: '1', topic: 't', partitionKey: '1' }
      await enqueue(test.db, { ...about, payload: '{}' })
      for (const window of await nextWindows(test.as('likewise_relay'), owner, held))
        await readPage(test.as('likewise_relay'), window, window.afterSeq, {
          pageRowsMax: 10,
          pageBytesMax: 100_000,
        })
      waits.push(performance.now() - begunMs)
      await pause(20)
    }
    stopping.abort()
    release()
    await Promise.all([reading, purging])
    // One lock wait may fall on each of the statements; without a limit each would wait for the reader's end.
    expect(Math.max(...waits)).toBeLessThan(1_000)
  }, 30_000)

  it('leaves rows that are younger than their slot says, as after a clock that was wrong', async () => {
    await test.db.execute(sql`
      insert into catalog.outbox_events (shard, slot, aggregate_type, aggregate_id, event_type, topic, partition_key,
                                         payload, created_at)
      values (catalog.outbox_shard('1'), ${(today + 1) % ringDays}, 'product', '1', 'e', 't', '1', '{}', ${at(today)})`)
    await publishAll()
    expect(await purgeRing(test.as('likewise_relay'), { retentionDays: 5, actor, now: at(today) })).toEqual(
      [],
    )
  })
})
