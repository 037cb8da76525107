import { randomBytes } from 'node:crypto'
import { Writable } from 'node:stream'
import { sql } from '@likewise/database'
import { openTx } from '@likewise/database/testing'
import { DeadLetterHeaders } from '@likewise/events'
import { Failure, type Telemetry, buildLogger, buildTelemetry, pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { copyDeadLetters } from './copy.ts'
import type { LetterCopy } from './copy-record.ts'
import type { InboxRecord } from './judgement.ts'
import { recordOf, withoutEnd } from './letter-testing.ts'
import { type Bench, freshBenches, topic } from './redrive-testing.ts'

let test: Awaited<ReturnType<typeof freshBenches>>
let bench: Bench
let telemetry: Telemetry
let arrived: LetterCopy[]
let sends: number[]
let lines: { level: string; msg: string }[]
const stops: (() => Promise<void>)[] = []

beforeAll(async () => {
  test = await freshBenches('copy')
})
afterAll(() => test.drop())
beforeEach(() => {
  bench = test.bench()
  ;[arrived, sends, lines] = [[], [], []]
})
afterEach(async () => {
  await Promise.all(stops.splice(0).map((stop) => stop()))
})

type Answer = (copies: readonly LetterCopy[]) => Failure | undefined

/** Copies to a stand-in for the broker, which takes what `answer` does not refuse. */
function copy(answer: Answer = () => undefined, partitions: readonly number[] = [0]): () => Promise<void> {
  const logTo = new Writable({
    write(line, _, done) {
      lines.push(JSON.parse(String(line)) as { level: string; msg: string })
      done()
    },
  })
  telemetry = buildTelemetry('test')
  const stop = copyDeadLetters({
    db: bench.db,
    consumer: bench.consumer,
    topic,
    partitions: () => partitions,
    publish: async (copies) => {
      sends.push(copies.length)
      const failure = answer(copies)
      if (failure) throw failure
      arrived.push(...copies)
    },
    log: buildLogger({ service: 'test', level: 'info' }, logTo),
    telemetry,
    everyMs: 10,
  })
  stops.push(stop)
  return stop
}

async function until(what: string, look: () => Promise<boolean> | boolean): Promise<void> {
  for (const end = performance.now() + 20_000; !(await look()); await pause(10))
    if (performance.now() > end) throw new Error(`Not within 20 s: ${what}`)
}

const uncopied = async (): Promise<number> =>
  (await bench.db.query(sql`select 1 from metrics.dead_letters where consumer = ${bench.consumer} and copied_at is null`)).length // prettier-ignore
const allCopied = () => until('all are copied', async () => (await uncopied()) === 0)

const broken = (offset: number, change: Partial<InboxRecord> = {}) =>
  recordOf({ offset, product: 1 }, { ...withoutEnd, ...change })
const offsets = () => arrived.map(({ headers }) => Number(headers['likewise_dlq_offset']))
const refused = new Failure('EVENT_REFUSED', 'too large')
const away = new Failure('BROKER_UNAVAILABLE', 'away')

describe('a copy', () => {
  it('is the record as it came, with why and from where (I9)', async () => {
    const bytes = Buffer.from([0, 255, 254, 10])
    const record = broken(7, { value: bytes, timeMs: Date.UTC(2026, 10, 20, 10) })
    const headers = { ...record.headers, 'x-raw': bytes, 'x-two': ['1', bytes], 'x-none': null }
    await bench.handle([{ ...record, headers }])
    copy()
    await allCopied()
    const [{ id, at }] = (await bench.db.query<{ id: bigint; at: Date }>(
      sql`select id, parked_at as at from metrics.dead_letters where consumer = ${bench.consumer}`,
    )) as [{ id: bigint; at: Date }]
    const own = Object.fromEntries(
      Object.entries(record.headers).map(([name, text]) => [name, Buffer.from(String(text))]),
    )
    expect(arrived).toEqual([
      {
        key: '1',
        value: bytes,
        headers: {
          ...own,
          'x-raw': bytes,
          'x-two': [Buffer.from('1'), bytes],
          'x-none': Buffer.alloc(0),
          likewise_dlq_null_headers: 'x-none',
          likewise_dlq_id: String(id),
          likewise_dlq_reason: 'not_json',
          likewise_dlq_detail: 'the value is not UTF-8',
          likewise_dlq_attempts: '1',
          likewise_dlq_consumer: bench.consumer,
          likewise_dlq_topic: topic,
          likewise_dlq_partition: '0',
          likewise_dlq_offset: '7',
          likewise_dlq_parked_at: at.toISOString(),
          likewise_dlq_timestamp: '2026-11-20T10:00:00.000Z',
        },
      },
    ])
    // as docs/asyncapi.json tells
    const told = Object.keys(arrived[0]?.headers ?? {}).filter((name) => name.startsWith('likewise_dlq_'))
    expect(Object.keys(DeadLetterHeaders.properties)).toEqual(expect.arrayContaining(told))
    expect(told).toEqual(expect.arrayContaining(DeadLetterHeaders.required))
  })

  it.each([
    ['no value', { value: null }],
    ['no key', { key: null }],
    ['a prototype in its value', { value: Buffer.from('{"__proto__":{"admin":true}}') }],
    ['a header named __proto__', { headers: { ['__proto__']: 'x', constructor: 'y' } }],
    ['no header and no time', { headers: {}, timeMs: -1 }],
    ['900 KB', { value: randomBytes(900_000) }],
  ])('of a record with %s is that record, byte for byte (I9)', async (_, change) => {
    const record = broken(0, change)
    await bench.handle([record])
    copy()
    await allCopied()
    expect(arrived).toHaveLength(1)
    const [one] = arrived
    expect(one?.key).toBe(record.key)
    expect(one?.value === null ? null : Buffer.compare(one!.value, record.value!)).toBe(
      record.value === null ? null : 0,
    )
    for (const [name, value] of Object.entries(record.headers))
      expect([name, String(Object.entries(one!.headers).find(([own]) => own === name)?.[1])]).toEqual([
        name,
        value,
      ])
  })

  it('is made of what was resolved meanwhile as well, and of each letter once while all is well', async () => {
    await bench.handle(Array.from({ length: 1_200 }, (_, i) => broken(i)))
    await bench.discard({ key: '1' })
    copy()
    await allCopied()
    expect(offsets()).toEqual(Array.from({ length: 1_200 }, (_, i) => i))
    expect(await telemetry.text()).toContain('likewise_inbox_copied_total{form="whole"} 1200\n')
  })

  it('is left to the member that reads its partition, so that two never make the same', async () => {
    await bench.handle([broken(0)], 0)
    await bench.handle([broken(0), broken(1)], 1)
    const stop = copy(undefined, [1])
    await until('two are copied', async () => (await uncopied()) === 1)
    await stop()
    expect(offsets()).toEqual([0, 1])
    copy(undefined, [0])
    await allCopied()
    expect(offsets()).toEqual([0, 1, 0])
  })

  it('goes out in sends of bounded size', async () => {
    await bench.handle(Array.from({ length: 6 }, (_, i) => broken(i, { value: Buffer.alloc(300_000, 'x') })))
    copy()
    await allCopied()
    expect(offsets()).toEqual([0, 1, 2, 3, 4, 5])
    expect(Math.max(...sends)).toBe(2)
  })
})

it('letters that a redrive has in hand are copied after it, and not with every try', async () => {
  await bench.handle([broken(0), broken(1)])
  const redrive = await openTx(bench.db)
  await redrive.tx.query(
    sql`select id from metrics.dead_letters where consumer = ${bench.consumer} order by id limit 1 for update`,
  )
  copy()
  await until('it has tried', async () =>
    (await telemetry.text()).includes('likewise_inbox_copy_failures_total{reason="DATABASE_BUSY"} 3\n'),
  )
  expect(sends).toEqual([])
  await redrive.commit()
  await allCopied()
  expect(offsets()).toEqual([0, 1])
})

describe('an outage', () => {
  it('delays the copies, in order, and is told once; what may have arrived comes again (I6)', async () => {
    await bench.handle([broken(0), broken(1)])
    let failing = 5
    copy((copies) => {
      if (failing === 0) return undefined
      failing -= 1
      // the broker has them, but its answer is lost
      if (failing === 0) arrived.push(...copies)
      return away
    })
    await until('it has failed', () => failing < 3)
    await bench.handle([broken(2)])
    await allCopied()
    expect(offsets().slice(-3)).toEqual([0, 1, 2])
    expect(offsets().length).toBeGreaterThanOrEqual(5)
    expect(lines.map(({ level, msg }) => [level, msg])).toEqual([
      ['warn', 'dead letters wait to be copied'],
      ['info', 'dead letters are copied again'],
    ])
    expect(await telemetry.text()).toContain(
      'likewise_inbox_copy_failures_total{reason="BROKER_UNAVAILABLE"} 5\n',
    )
  })

  it('keeps nobody from stopping', async () => {
    await bench.handle([broken(0)])
    const stop = copy(() => away)
    await until('it has failed', () => sends.length > 0)
    await stop()
    expect(await uncopied()).toBe(1)
  })
})

describe('a record that the dead-letter topic does not take', () => {
  const size = ({ value, headers }: LetterCopy) =>
    (value?.length ?? 0) + Object.values(headers).reduce((sum, header) => sum + header.length, 0)

  it('is copied without its value, and holds up none of the others (I9)', async () => {
    await bench.handle(
      Array.from({ length: 9 }, (_, i) => broken(i, i === 4 ? { value: Buffer.alloc(50_000, 'x') } : {})),
    )
    copy((copies) => (copies.some((one) => size(one) > 20_000) ? refused : undefined))
    await allCopied()
    expect(offsets()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
    expect(arrived[4]).toMatchObject({ key: '1', value: null, headers: { likewise_dlq_left_out: 'value' } })
    expect(arrived[5]?.headers).not.toHaveProperty('likewise_dlq_left_out')
  })

  it('is copied without all of the record where its headers are too large', async () => {
    await bench.handle([broken(0, { headers: { large: 'x'.repeat(50_000) } }), broken(1)])
    copy((copies) => (copies.some((one) => size(one) > 20_000) ? refused : undefined))
    await allCopied()
    expect(arrived[0]).toMatchObject({
      key: null,
      value: null,
      headers: { likewise_dlq_left_out: 'key,value,headers' },
    })
    expect(offsets()).toEqual([0, 1])
  })

  it('is given up, loudly, where nothing of it is taken', async () => {
    await bench.handle([broken(0), broken(1)])
    copy((copies) =>
      copies.some(({ headers }) => headers['likewise_dlq_offset'] === '0') ? refused : undefined,
    )
    await allCopied()
    expect(offsets()).toEqual([1])
    expect(lines).toMatchObject([{ level: 'error', msg: expect.stringContaining('refuses it in any form') }])
    expect(await telemetry.text()).toContain('likewise_inbox_copied_total{form="refused"} 1\n')
  })
})
