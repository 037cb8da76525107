import { randomBytes, randomUUID } from 'node:crypto'
import { type Tx, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { type LikeEvent, encode } from '@likewise/events'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { countDeadLetters } from './dead-letters.ts'
import { handleBatch } from './handle-batch.ts'
import type { InboxRecord } from './judgement.ts'
import { readMarks } from './offsets.ts'
import type { BatchOutcome } from './piece.ts'

const dayMs = 86_400_000
const horizon = { dedupHorizonMs: 30 * dayMs, futureMaxMs: dayMs }
const topic = 'catalog-events'
let test: TestDatabase
let consumer: string
let applied: number[]

beforeAll(async () => {
  test = await freshDatabase('dead_letters')
})
afterAll(() => test.drop())
beforeEach(() => {
  consumer = `test-${randomUUID()}`
  applied = []
})

function idAt(ms: number): string {
  const hex = ms.toString(16).padStart(12, '0')
  const random = randomBytes(8).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7${random.slice(0, 3)}-9${random.slice(3, 6)}-${random.slice(4, 16)}`
}

/** A like of `productId`; its user is its offset, so that `applied` shows which were applied. */
function record(
  offset: number,
  productId: number,
  change: Partial<InboxRecord> = {},
  madeMs = Date.now(),
): InboxRecord {
  const data = { userId: offset + 1, productId, createdAt: '2026-11-22T09:14:05.402817Z' }
  const about = { type: 'catalog.like.added.v1', source: '/test', time: data.createdAt } as const
  const { key, value, headers } = encode({ ...about, id: idAt(madeMs), data })
  return { offset: BigInt(offset), key, value: Buffer.from(value), headers, timeMs: Date.now(), ...change }
}

const broken = { value: Buffer.from('{"userId":') }
const scope = () => ({ consumer, topic, partition: 0 })

async function work(_tx: Tx, fresh: readonly LikeEvent[]): Promise<void> {
  applied.push(...fresh.map(({ data }) => data.userId - 1))
}

const handle = (...records: InboxRecord[]): Promise<BatchOutcome> =>
  handleBatch(test.as('likewise_consumer'), { scope: scope(), records, horizon, work })

interface Letter {
  offset: bigint
  reason: string
  blocks: boolean
  key: string | null
  value: Uint8Array | null
  headers: Record<string, string | null | (string | null)[]>
  eventId: string | null
  time: Date | null
  detail: string
}

const letters = (): Promise<Letter[]> =>
  test.db.query<Letter>(sql`
    select record_offset as offset, reason, blocks_key as blocks, record_key as key, record_value as value,
           record_headers as headers, event_id::text as "eventId", record_time as time, detail
    from metrics.dead_letters where consumer = ${consumer} order by record_offset`)

const reasons = async () => (await letters()).map(({ offset, reason }) => [Number(offset), reason])

/** What a redrive leaves behind: the letter stays, resolved. */
const resolve = (...offsets: number[]) =>
  test.db.execute(sql`
    update metrics.dead_letters set resolved_at = now(), resolution = 'redriven'
    where consumer = ${consumer} and record_offset = any (${offsets}::bigint[])`)

const base64 = (bytes: string | Uint8Array): string => Buffer.from(bytes as string).toString('base64')

describe('a record that cannot be read', () => {
  it('is parked with its reason and does not stop its partition', async () => {
    const outcome = await handle(record(0, 1), record(1, 2, broken), record(2, 3))
    expect(outcome).toMatchObject({ handled: 2, parked: [{ reason: 'not_json', offset: 1n }] })
    expect(applied).toEqual([0, 2])
    expect(await letters()).toEqual([
      expect.objectContaining({
        offset: 1n,
        reason: 'not_json',
        blocks: true,
        key: '2',
        value: expect.any(Uint8Array),
      }),
    ])
    expect((await readMarks(test.as('likewise_consumer'), consumer, topic))[0]?.nextOffset).toBe(3n)
  })

  it('holds back the later events of its key, in this batch and the next, while other keys flow', async () => {
    await handle(record(0, 1), record(1, 1, broken), record(2, 1), record(3, 2))
    await handle(record(4, 1), record(5, 2), record(6, 3))
    expect(applied).toEqual([0, 3, 5, 6])
    expect(await reasons()).toEqual([
      [1, 'not_json'],
      [2, 'behind_parked'],
      [4, 'behind_parked'],
    ])
  })

  it('holds back its key in no other topic', async () => {
    await handle(record(0, 1, broken))
    await handleBatch(test.as('likewise_consumer'), {
      scope: { ...scope(), topic: 'other' },
      records: [record(1, 1)],
      horizon,
      work,
    })
    expect(applied).toEqual([1])
  })

  it('is kept though its key is longer than an index could hold, and holds nobody back', async () => {
    const key = randomBytes(5_000).toString('latin1').replaceAll('\u0000', '-')
    await handle(record(0, 1, { ...broken, key }), record(1, 1))
    expect(applied).toEqual([1])
    expect(await letters()).toEqual([expect.objectContaining({ offset: 0n, key, blocks: false })])
  })

  it('is kept among thousands of its kind in one batch', async () => {
    const many = Array.from({ length: 2_500 }, (_, i) => record(i, 1, i % 2 ? broken : { value: null }))
    await handle(...many)
    const kept = await letters()
    expect(kept.map(({ offset }) => Number(offset))).toEqual(many.map((_, i) => i))
    expect(kept[2_498]).toMatchObject({ reason: 'no_value', value: null })
    expect(kept[2_499]).toMatchObject({ reason: 'not_json', value: expect.any(Uint8Array) })
  })

  it('is parked once, however often it is delivered', async () => {
    const batch = [record(0, 1, broken), record(1, 1)]
    await handle(...batch)
    const before = await letters()
    await test.db.execute(sql`delete from metrics.consumer_offsets where consumer = ${consumer}`)
    await handle(...batch)
    expect(await letters()).toEqual(before)
    expect(applied).toEqual([])
  })
})

describe('an event of the wrong age, or without a usable id', () => {
  it.each([
    ['too_old', record(0, 1, {}, Date.now() - 31 * dayMs)],
    ['from_future', record(0, 1, {}, Date.now() + 2 * dayMs)],
    ['bad_id', record(0, 1, { headers: { ...record(0, 1).headers, ce_id: randomUUID() } })],
  ])('%s parks alone and holds nobody back', async (reason, one) => {
    await handle(one, record(1, 1))
    await handle(record(2, 1))
    expect(applied).toEqual([1, 2])
    expect(await letters()).toEqual([expect.objectContaining({ offset: 0n, reason, blocks: false })])
  })
})

describe('after a redrive', () => {
  it('the key flows again', async () => {
    await handle(record(0, 1, broken), record(1, 1))
    await resolve(0, 1)
    await handle(record(2, 1))
    expect(applied).toEqual([2])
  })

  it('the key still waits while one of its letters does', async () => {
    await handle(record(0, 1, broken), record(1, 1))
    await resolve(0)
    await handle(record(2, 1))
    expect(applied).toEqual([])
  })

  it('a replay parks nothing again, and holds no key back', async () => {
    const batch = [record(0, 1, broken), record(1, 2), record(2, 3, {}, Date.now() - 31 * dayMs)]
    await handle(...batch)
    await resolve(0, 2)
    const before = await letters()
    await test.db.execute(sql`delete from metrics.consumer_offsets where consumer = ${consumer}`)
    expect(await handle(...batch, record(3, 1))).toMatchObject({ handled: 1, duplicates: 1, parked: [] })
    expect(await letters()).toEqual(before)
    expect(applied).toEqual([1, 3])
    expect(await countDeadLetters(test.as('likewise_consumer'), consumer)).toEqual([])
  })
})

it('a replay of a redriven event neither applies nor parks it while its key waits again', async () => {
  await handle(record(0, 1, broken), record(1, 1))
  await resolve(0, 1)
  await handle(record(2, 1, broken))
  await test.db.execute(sql`update metrics.consumer_offsets set next_offset = 1 where consumer = ${consumer}`)
  expect(await handle(record(1, 1))).toMatchObject({ handled: 0, parked: [] })
  expect(applied).toEqual([])
})

describe('what is kept of a record', () => {
  it('is all of it: bytes that are no text, headers repeated, binary or without a value', async () => {
    const bytes = Buffer.from([0, 255, 254, 10])
    const headers: InboxRecord['headers'] = {
      ...record(0, 1).headers,
      'x-raw': bytes,
      'x-two': ['1', bytes, null],
      'x-none': null,
      'x-nul\u0000name': 'a\u0000b',
    }
    const time = new Date('2026-11-20T10:00:00.123Z')
    await handle(record(0, 1, { value: bytes, headers, timeMs: time.getTime() }))
    const [letter] = await letters()
    expect(letter).toMatchObject({ reason: 'not_json', key: '1', time, eventId: headers['ce_id'] })
    expect(Buffer.from(letter?.value ?? [])).toEqual(bytes)
    expect(letter?.headers).toMatchObject({
      ce_id: base64(String(headers['ce_id'])),
      'x-raw': base64(bytes),
      'x-two': [base64('1'), base64(bytes), null],
      'x-none': null,
      'x-nul\uFFFDname': base64('a\u0000b'),
    })
  })

  it.each([
    ['no key', { key: null }, { key: null, blocks: false }],
    ['an empty key', { key: '' }, { key: '', blocks: false }],
    ['a NUL in its key', { key: '1\u00002' }, { key: '1\uFFFD2', blocks: false }],
    ['no value', { value: null }, { value: null, reason: 'no_value' }],
    ['an empty value', { value: Buffer.alloc(0) }, { reason: 'no_value' }],
    ['no header', { headers: {} }, { headers: {}, eventId: null }],
    ['a value of 1 MB', { value: Buffer.alloc(1_000_000, 'x') }, { reason: 'not_json' }],
    ['no time', { ...broken, timeMs: -1 }, { reason: 'not_json', time: null }],
    [
      'a time in nanoseconds',
      { ...broken, timeMs: 1_763_000_000_000_000_000 },
      { reason: 'not_json', time: null },
    ],
  ])('is stored for a record with %s, and the partition goes on', async (_, change, kept) => {
    await handle(record(0, 1, change), record(1, 2))
    expect(await letters()).toEqual([expect.objectContaining(kept)])
    expect(applied).toEqual([1])
  })

  it('is stored for ids and types that PostgreSQL cannot hold as they are', async () => {
    const { headers } = record(0, 1)
    await handle(
      record(0, 1, { headers: { ...headers, ce_id: 'no\u0000id' } }),
      record(1, 1, { headers: { ...headers, ce_type: 'catalog.like.\u0000' } }),
      record(2, 3, { headers: { ...headers, ce_type: 'catalog.like.\uD800' } }),
      record(3, 2),
    )
    expect(await reasons()).toEqual([
      [0, 'bad_id'],
      [1, 'bad_header'],
      [2, 'unknown_type'],
    ])
    expect(applied).toEqual([3])
  })
})

describe('countDeadLetters', () => {
  it('counts by reason what waits for a decision, for this consumer only', async () => {
    await handle(record(0, 1, broken), record(1, 1), record(2, 1), record(3, 2, { value: null }))
    await resolve(3)
    expect(await countDeadLetters(test.as('likewise_consumer'), consumer)).toEqual([
      { reason: 'behind_parked', count: 2n, oldest: expect.any(Date) },
      { reason: 'not_json', count: 1n, oldest: expect.any(Date) },
    ])
    expect(await countDeadLetters(test.as('likewise_consumer'), 'somebody else')).toEqual([])
  })
})
