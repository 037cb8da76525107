import { randomUUID } from 'node:crypto'
import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx, urlAs } from '@likewise/database/testing'
import { buildHandler, readLiveMarks, readRebuild } from '@likewise/inbox'
import { type OutgoingRecord, type Publisher, type Subscriber, buildPublisher, ensureTopics, removeTopics, subscribe } from '@likewise/kafka' // prettier-ignore
import { cutLog } from '@likewise/kafka/testing'
import { applyToProductMetrics, rollUp } from '@likewise/metrics'
import { buildLogger, buildTelemetry, parseBrokers, pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals'
import { Command } from 'commander'
import { addReplayCommand } from './replay.ts'
import { type Tools, addRebuildCommand } from './rebuild.ts'
import { emptied, horizon, recordOf } from './rebuild-testing.ts'
import { addSnapshotCommands } from './snapshot.ts'

// See libs/kafka/src/subscriber.int.spec.ts: kafkajs may wedge in silence while it joins a group.
jest.retryTimes(2, { logErrorsBeforeRetry: true })
jest.setTimeout(90_000)

const log = buildLogger({ service: 'test', level: 'silent' })
const kafka = {
  ...{
    brokers: parseBrokers(process.env['KAFKA_BROKERS'] ?? ''),
    clientId: 'test',
    requestTimeoutMs: 10_000,
  },
  log,
}
const partitions = 3
const made: string[] = []
let test: TestDatabase
let publisher: Publisher
let topic: string
let consumer: string
let member: Subscriber | undefined

beforeAll(async () => {
  test = await freshDatabase('rebuild')
  process.env['METRICS_DATABASE_URL'] = urlAs('likewise_operator', test.url)
  publisher = buildPublisher({ ...kafka, sendLimitMs: 10_000 })
})
afterAll(async () => {
  await publisher.stop()
  await removeTopics(kafka, made)
  await test.drop()
})
beforeEach(async () => {
  process.exitCode = 0
  await emptied(test.db)
  ;[topic, consumer] = [`test-${randomUUID()}`, `test-${randomUUID()}`]
  made.push(topic)
  await ensureTopics(kafka, [{ topic, partitions, replicationFactor: 1, retentionMs: 3_600_000 }])
  process.env['CONSUMER_GROUP'] = consumer
})
afterEach(async () => {
  await member?.stop()
  member = undefined
  process.exitCode = 0
})

/** The consumer, as metrics-consumer has it. */
function consume(): void {
  const telemetry = buildTelemetry('test')
  const about = {
    db: test.as('likewise_consumer'),
    consumer,
    horizon,
    transactionsAtOnceMax: 3,
    work: applyToProductMetrics,
  }
  member = subscribe({
    ...{ ...kafka, groupId: consumer, topic, partitionsAtOnceMax: 64 },
    onBatch: buildHandler({ ...about, log, telemetry }),
    fail: (error) => {
      throw error
    },
  })
}

/** Likes as a relay sends them; `value`: what stands in the place of each one's own. */
const likes = (count: number, products = 20, value?: string): OutgoingRecord[] =>
  Array.from({ length: count }, (_, i) => {
    const { key, value: own, headers } = recordOf({ product: 1 + (i % products) })
    return { topic, key, value: value ?? own, headers }
  })

const send = (count: number, products = 20) => publisher.publish(likes(count, products))

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 40_000; !(await holds()); await pause(20)) {
    if (performance.now() > end) throw new Error(`Not in time: ${what}`)
  }
}

async function total(): Promise<number> {
  const [row] = await test.db.query<{ n: number | null }>(sql`
    select sum(like_count)::float8 as n from metrics.product_metrics`)
  return row?.n ?? 0
}
const inWindows = async () =>
  (
    await test.db.query<{ n: number | null }>(sql`
      select sum(added - removed)::float8 as n from (select added, removed from metrics.product_like_windows
        union all select added, removed from metrics.product_like_hours
        union all select added, removed from metrics.product_like_days) as buckets`)
  )[0]?.n ?? 0

const handledAll = async (count: number) => {
  const marks = await readLiveMarks(test.db, { consumer, topic })
  return marks.reduce((sum, { nextOffset }) => sum + Number(nextOffset), 0) >= count
}

/** What `likewise …` says. */
async function run(...words: string[]): Promise<string> {
  const lines: string[] = []

  const output = { say: (line: string) => void lines.push(line) }
  const tools: Tools = { kafkaOptions: () => kafka, output, topic }
  const program = new Command().exitOverride().configureOutput({ writeErr: () => undefined })
  addRebuildCommand(program, tools)
  addReplayCommand(program, tools)
  addSnapshotCommands(program, output.say, topic)
  await program.parseAsync(['node', 'likewise', ...words])
  return lines.join('\n')
}

async function handle(count: number): Promise<void> {
  consume()
  await until('all is handled', () => handledAll(count))
  await member?.stop()
  member = undefined
}

describe('likewise rebuild', () => {
  it('rebuilds beside the live model, says that both are the same, and keeps the rebuilt one until it is dropped', async () => {
    await send(500)
    await handle(500)
    const text = await run('rebuild')
    expect(text).toContain(
      `Rebuilds the read model of ${consumer} from the beginning of ${topic}, beside the live one.`,
    )
    expect(text).toContain('100 %  500 of 500 records')
    expect(text).toContain('500 events counted, 0 copies passed over.\nBoth models say the same.')
    expect(text).toContain('likewise rebuild --switch')
    expect(await run('rebuild')).toContain('Goes on with the rebuild')
    expect(await run('rebuild', '--drop')).toContain('is given up; the live model is as it was')
    await expect(run('rebuild', '--drop')).rejects.toThrow('There is no rebuild to give up.')
    expect(process.exitCode).toBe(0)
  })

  it('says what differs and exits with 1, and switches', async () => {
    await send(100, 4)
    await handle(100)
    await test.db.execute(sql`update metrics.product_metrics set like_count = 30 where product_id = 2`)
    const text = await run('rebuild')
    expect(text).toContain('1 product differs:')
    expect(text).toMatch(/ 2 +30 +25 +-5/)
    expect(process.exitCode).toBe(1)
    process.exitCode = 0
    expect(await run('rebuild', '--switch')).toContain('Switched: the live model is what was rebuilt.')
    expect(process.exitCode).toBe(0)
    expect(await total()).toBe(100)
    expect(await readRebuild(test.db)).toBeNull()
  })

  it('switches while events flow: nothing is lost, nothing counted twice (I2, I3)', async () => {
    await send(3_000)
    consume()
    await until('it is in the middle of it', () => handledAll(1_000))
    await test.db.execute(
      sql`update metrics.product_metrics set like_count = like_count + 7 where product_id = 3`,
    )
    const over = new AbortController()
    let flowed = 0
    const flow = async () => {
      while (!over.signal.aborted) {
        const more = likes(50)
        // as a relay that was killed repeats a page
        await publisher.publish([...more, ...more.slice(0, 10)])
        flowed += 50
      }
    }
    const flowing = flow()
    const rolling = (async () => {
      while (!over.signal.aborted) {
        await rollUp(test.db, { minutesKeptHours: 48, hoursKeptDays: 90 })
        await pause(5)
      }
    })()
    const texts = [await run('rebuild', '--switch'), await run('rebuild', '--switch')]
    over.abort()
    await Promise.all([flowing, rolling])
    expect(texts[0]).toContain('Switched: the live model is what was rebuilt.')
    expect(texts[1]).toContain('Switched: nothing had to be changed.')
    expect(flowed).toBeGreaterThan(100)
    const wanted = 3_000 + flowed
    await until('all is counted', async () => (await total()) >= wanted)
    await pause(300)
    expect([await total(), await inWindows()]).toEqual([wanted, wanted])
    await member?.stop()
    member = undefined
    expect(await run('rebuild')).toContain('Both models say the same.')
  })

  it('refuses a second one while one is under way, in a sentence', async () => {
    await send(200)
    await handle(200)
    const held = await openTx(test.db)
    await held.tx.query(
      sql`select 1 as locked from metrics.consumer_offsets where consumer = ${consumer} for update`,
    )
    const first = run('rebuild')
    await until('the first one is at it', async () => (await readRebuild(test.db))?.isHeld === true)
    await expect(run('rebuild', '--switch')).rejects.toThrow(/A rebuild is under way: .* works on it, since 20.*likewise rebuild --drop/) // prettier-ignore
    await expect(run('rebuild', '--drop')).rejects.toThrow('A rebuild is under way')
    await held.rollback()
    expect(await first).toContain('Both models say the same.')
  })

  it('goes on where a killed one was, once its lease has run out, and comes to the same', async () => {
    await send(400)
    await handle(400)
    await run('rebuild')
    // what is left of a process that was killed in the middle of it
    await test.db.execute(sql`
      update metrics.rebuilds set lease_until = clock_timestamp() + interval '2 seconds', owner = gen_random_uuid()`)
    await send(100)
    await handle(500)
    const text = await run('rebuild')
    expect(text).toContain('Waits for the process of')
    expect(text).toContain('500 of 500 records')
    expect(text).toContain('500 events counted, 0 copies passed over.\nBoth models say the same.')
  })

  it('stops at a signal after the step in hand, and goes on', async () => {
    await send(300)
    await handle(300)
    const held = await openTx(test.db)
    await held.tx.query(
      sql`select 1 as locked from metrics.consumer_offsets where consumer = ${consumer} for update`,
    )
    const stopped = run('rebuild', '--switch')
    await until('it stands before the switch', async () => (await readRebuild(test.db))?.isHeld === true)
    process.emit('SIGINT')
    await held.rollback()
    expect(await stopped).toContain('the live model is as it was. likewise rebuild goes on')
    expect(process.exitCode).toBe(130)
    expect(await readRebuild(test.db)).toMatchObject({ isHeld: false })
    expect(await run('rebuild', '--switch')).toContain('Switched')
  })
})

describe('a topic that no longer holds its beginning', () => {
  it('is refused without a snapshot, and works with one', async () => {
    await send(300)
    await handle(300)
    expect(await run('snapshot')).toMatch(/Snapshot \d+: 20 products, .* 300 ids, after 300 records/)
    await send(200)
    await handle(500)
    const marks = await readLiveMarks(test.db, { consumer, topic })
    const cut = marks.map(({ partition }) => ({ partition, offset: '10' }))
    await cutLog(kafka, topic, cut)
    await expect(run('rebuild')).rejects.toThrow(/begins at offset 10: the topic no longer holds its beginning.*--snapshot <id>/) // prettier-ignore
    expect(await readRebuild(test.db)).toBeNull()
    await test.db.execute(sql`update metrics.product_metrics set like_count = 0`)
    const text = await run('rebuild', '--switch', '--snapshot', 'latest')
    expect(text).toContain('200 of 200 records')
    expect([await total(), await inWindows()]).toEqual([500, 500])
    await expect(run('rebuild', '--snapshot', '999')).rejects.toThrow('There is no snapshot 999')
  })

  it('is refused with a snapshot that is older than what it holds', async () => {
    await send(100)
    await handle(100)
    await run('snapshot')
    await send(200)
    await handle(300)
    const marks = await readLiveMarks(test.db, { consumer, topic })
    await cutLog(kafka, topic, marks.map(({ partition, nextOffset }) => ({ partition, offset: String(nextOffset) }))) // prettier-ignore
    await expect(run('rebuild', '--snapshot', 'latest')).rejects.toThrow('what lay between is gone')
  })
})

describe('a topic that was made again', () => {
  it('is refused: what was counted before is not on it', async () => {
    await send(50)
    await handle(50)
    await test.db.execute(sql`update metrics.consumer_offsets set replaced_at = now() where partition = 0`)
    await expect(run('rebuild')).rejects.toThrow('was made again')
  })

  it('is refused also where that was seen after the rebuild had begun', async () => {
    await send(50)
    await handle(50)
    await run('rebuild')
    await test.db.execute(sql`update metrics.consumer_offsets set replaced_at = now() where partition = 0`)
    await expect(run('rebuild', '--switch')).rejects.toThrow(
      /was made again .* after what the rebuild began with/,
    )
  })

  it('is refused where it ends before what was reached', async () => {
    await send(50)
    await handle(50)
    await test.db.execute(sql`update metrics.consumer_offsets set next_offset = 1000 where partition = 0`)
    await expect(run('rebuild')).rejects.toThrow('before 1000, which the consumer has reached')
  })

  it('is told from the one of the rebuild by the record before', async () => {
    await send(50)
    await handle(50)
    await run('rebuild')
    await test.db.execute(sql`update metrics.rebuild_offsets set last_event_id = uuidv7()`)
    await send(50)
    await handle(100)
    await expect(run('rebuild')).rejects.toThrow('the topic was made again')
  })
})

describe('likewise snapshot', () => {
  it('keeps the newest, lists and deletes', async () => {
    await expect(run('snapshot')).rejects.toThrow('has handled nothing')
    await send(30)
    await handle(30)
    for (let i = 0; i < 2; i += 1) await run('snapshot')
    expect(await run('snapshot', '--keep', '2')).toMatch(/Snapshot \d+ is deleted: 2 are kept/)
    const listed = JSON.parse(await run('snapshot', 'list', '--json')) as { id: number }[]
    expect(listed).toMatchObject([{ products: 20, ids: 30, records: 30 }, { products: 20 }])
    expect((await run('snapshot', 'list')).split('\n')).toHaveLength(3)
    await run('snapshot', 'delete', String(listed[0]?.id))
    await expect(run('snapshot', 'delete', String(listed[0]?.id))).rejects.toThrow('There is no snapshot')
    expect((await run('snapshot', 'list')).split('\n')).toHaveLength(2)
    const [rows] = await test.db.query<{ n: number }>(
      sql`select count(*)::int as n from metrics.snapshot_counts`,
    )
    expect(rows?.n).toBe(1)
  })
})

describe('likewise replay', () => {
  const letters = async () =>
    (await test.db.query(sql`select 1 as one from metrics.dead_letters where consumer = ${consumer}`)).length

  it('changes nothing where nothing is missing, and parks nothing twice', async () => {
    await send(200)
    await publisher.publish(likes(6, 3, '{"userId":'))
    await send(60)
    await handle(266)
    const before = [await total(), await inWindows(), await letters()]
    await run('rebuild')
    const parked = await letters()
    expect(parked).toBeGreaterThanOrEqual(6)
    const text = await run('replay', '--from', '2020-01-01T00:00:00Z')
    expect(text).toContain('Nothing was missing.')
    expect(text).toContain(`${String(parked)} have a dead letter, which decides: left alone`)
    expect(await run('replay', '--to', '2020-01-01T00:00:00Z')).toContain('0 had their effect before')
    expect([await total(), await inWindows(), await letters()]).toEqual(before)
    await expect(run('replay')).rejects.toThrow('Say which records')
  })

  it('applies what lost its effect and its id, of one key, and rehearses that', async () => {
    await send(100, 4)
    await handle(100)
    await test.db.execute(sql`delete from metrics.product_metrics where product_id = 3`)
    await test.db.execute(sql`delete from metrics.product_like_windows where product_id = 3`)
    await test.db.execute(sql`delete from metrics.event_handled where aggregate_id = '3'`)
    expect(await run('replay', '--key', '3', '--dry-run')).toContain('25 would have their effect now')
    expect(await total()).toBe(75)
    expect(await run('replay', '--key', '3')).toContain('25 have their effect now')
    expect([await total(), await inWindows()]).toEqual([100, 100])
    expect(JSON.parse(await run('replay', '--key', '3', '--json'))).toMatchObject({
      applied: 0,
      hadEffect: 25,
    })
  })

  it('parks what cannot be read and lost its dead letter, once, and what is missing behind it', async () => {
    await publisher.publish(likes(1, 1, '{"userId":'))
    await send(2, 1)
    await handle(3)
    await test.db.execute(sql`delete from metrics.dead_letters`)
    expect(await run('rebuild')).toContain('1 record cannot be read and has no dead letter')
    process.exitCode = 0
    expect(await run('replay', '--key', '1')).toContain('3 have a dead letter now')
    expect(await run('replay', '--key', '1')).toContain('3 have a dead letter, which decides')
    expect(await letters()).toBe(3)
  })
})
