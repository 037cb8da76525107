import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { buildLogger, buildTelemetry, pause } from '@likewise/service'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { keepLetters, purgeLetters } from './letter-purge.ts'

const about = { consumer: 'c', topic: 'catalog-events', keptDays: 90 }
let test: TestDatabase
let asked: number

beforeAll(async () => {
  test = await freshDatabase('letter_purge')
})
afterAll(() => test.drop())
beforeEach(async () => {
  asked = 0
  await test.db.execute(
    sql`truncate metrics.dead_letters, metrics.inbox_audit, metrics.snapshots, metrics.rebuilds cascade`,
  )
})

interface Given {
  offset?: number
  partition?: number
  resolvedDaysAgo?: number | null
  copied?: boolean
  consumer?: string
  topic?: string
}

async function letter(given: Given = {}): Promise<void> {
  const { offset = 5, partition = 0, resolvedDaysAgo = 91, copied = true } = given
  await test.db.execute(sql`
    insert into metrics.dead_letters (consumer, topic, partition, record_offset, record_key, reason, detail, blocks_key,
      resolved_at, resolution, copied_at)
    select ${given.consumer ?? about.consumer}, ${given.topic ?? about.topic}, ${partition}::int, ${offset}::bigint, '1',
      'not_json', 'x', true, now() - days * interval '1 day', case when days is not null then 'discarded' end,
      case when ${copied}::boolean then now() end
    from (values (${resolvedDaysAgo}::float8)) as given(days)`)
}

const readStarts = (starts: readonly bigint[]) => () => {
  asked += 1
  return Promise.resolve(starts.map((start, partition) => ({ partition, start })))
}
const purge = (starts: readonly bigint[] = [10n]) =>
  purgeLetters(test.as('likewise_consumer'), { ...about, readStarts: readStarts(starts) })
const left = async (): Promise<number> =>
  (await test.db.query(sql`select 1 as one from metrics.dead_letters`)).length
const audit = () =>
  test.db.query<{ action: string; detail: string }>(
    sql`select action, consumer, detail from metrics.inbox_audit order by id`,
  )

describe('purgeLetters', () => {
  it('removes what was resolved long ago and is no longer on the topic, and writes that down', async () => {
    await letter()
    await letter({ offset: 9 })
    await letter({ offset: -3 }) // of a log that was made again since
    expect(await purge()).toBe(3)
    expect(await left()).toBe(0)
    expect(await audit()).toEqual([
      { action: 'purge', consumer: 'c', detail: expect.stringMatching(/^3 dead letters that were redriven or discarded from 20.* to 20.*, with the numbers \d+ to \d+$/) }, // prettier-ignore
    ])
    expect(await purge()).toBe(0)
    expect(await audit()).toHaveLength(1)
  })

  it.each<[string, Given]>([
    ['waits for a decision, however old it is', { resolvedDaysAgo: null }],
    ['was resolved within the retention', { resolvedDaysAgo: 89 }],
    [
      'has a record that the topic still holds: a replay would park it again, and a rebuild count it',
      { offset: 10 },
    ],
    ['lies in a partition that the topic does not tell of', { partition: 1 }],
    ['has no copy yet on the topic of dead letters', { copied: false }],
    ["is another consumer's", { consumer: 'other' }],
    ["is another topic's", { topic: 'other' }],
  ])('keeps one that %s', async (_, given) => {
    await letter(given)
    expect([await purge(), await left()]).toEqual([0, 1])
  })

  it('keeps what a snapshot that is older may ask for, and what a rebuild may that began with it', async () => {
    await letter({ resolvedDaysAgo: 100 })
    const snapshot = (daysAgo: number) =>
      test.db.execute(sql`
        insert into metrics.snapshots (consumer, topic, taken_by, open_letters, taken_at)
        values ('c', 'catalog-events', 'test', '{}', now() - ${daysAgo}::float8 * interval '1 day')`)
    await snapshot(100.005)
    expect(await purge()).toBe(0)
    await test.db.execute(sql`delete from metrics.snapshots`)
    await snapshot(99)
    await test.db.execute(sql`
      insert into metrics.rebuilds (consumer, topic, version, letters_since, open_letters, owner, owner_name, lease_until)
      values ('c', 'catalog-events', '1', now() - interval '101 days', '{}', gen_random_uuid(), 'x', now())`)
    expect(await purge()).toBe(0)
    await test.db.execute(sql`delete from metrics.rebuilds`)
    expect(await purge()).toBe(1)
  })

  it('asks the broker for nothing where nothing is old enough', async () => {
    await letter({ resolvedDaysAgo: 1 })
    await purge()
    expect(asked).toBe(0)
    await letter({ offset: 20 })
    await purge()
    expect(asked).toBe(1)
  })

  it('removes many a part at a time, in two processes at once', async () => {
    await test.db.execute(sql`
      insert into metrics.dead_letters (consumer, topic, partition, record_offset, reason, detail, blocks_key, resolved_at,
        resolution, copied_at)
      select 'c', 'catalog-events', n % 3, n, 'not_json', 'x', true, now() - interval '91 days', 'redriven', now()
      from generate_series(1, 2600) as n`)
    const counts = await Promise.all([purge([3_000n, 3_000n, 3_000n]), purge([3_000n, 3_000n, 3_000n])])
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(2_600)
    expect(await left()).toBe(0)
    const noted = (await audit()).map(({ detail }) => Number(/^\d+/.exec(detail)?.[0]))
    expect(noted.reduce((sum, count) => sum + count, 0)).toBe(2_600)
  })
})

it('keepLetters purges by itself, and counts what went', async () => {
  await letter()
  await letter({ offset: 11 })
  const telemetry = buildTelemetry('test')
  const log = buildLogger({ service: 'test', level: 'silent' })
  const db = test.as('likewise_consumer')
  const stop = keepLetters({ ...about, db, readStarts: readStarts([10n]), everyMs: 20, log, telemetry })
  for (const end = performance.now() + 20_000; (await left()) > 1 && performance.now() < end;) await pause(20)
  await stop()
  expect(await left()).toBe(1)
  expect(await telemetry.text()).toContain('likewise_inbox_purged_letters_total 1\n')
})
