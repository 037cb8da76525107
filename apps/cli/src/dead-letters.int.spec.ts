import { randomBytes, randomUUID } from 'node:crypto'
import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, urlAs } from '@likewise/database/testing'
import { encode } from '@likewise/events'
import { type InboxRecord, handleBatch } from '@likewise/inbox'
import { applyToProductMetrics, readProductMetrics } from '@likewise/metrics'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { Command } from 'commander'
import { addDeadLetterCommands } from './dead-letters.ts'

const dayMs = 86_400_000
const consumer = 'metrics-consumer'
let test: TestDatabase
let said: string[]

beforeAll(async () => {
  test = await freshDatabase('dead_letters_cli')
  process.env['METRICS_DATABASE_URL'] = urlAs('likewise_operator', test.url)
})
afterAll(() => test.drop())
beforeEach(async () => {
  said = []
  await test.db.execute(sql`truncate metrics.dead_letters, metrics.event_handled, metrics.consumer_offsets,
    metrics.product_metrics, metrics.inbox_audit restart identity`)
})
afterEach(() => {
  process.exitCode = 0
})

function record(
  offset: number,
  product: number,
  change: Partial<InboxRecord> = {},
  madeMs = Date.now(),
): InboxRecord {
  const hex = madeMs.toString(16).padStart(12, '0')
  const random = randomBytes(9).toString('hex')
  const id = `${hex.slice(0, 8)}-${hex.slice(8)}-7${random.slice(0, 3)}-9${random.slice(3, 6)}-${random.slice(6, 18)}`
  const time = '2026-11-22T09:14:05.402817Z'
  const data = { userId: offset + 1, productId: product, createdAt: time }
  const { key, value, headers } = encode({ type: 'catalog.like.added.v1', source: '/test', id, time, data })
  return { offset: BigInt(offset), key, value: Buffer.from(value), headers, timeMs: Date.now(), ...change }
}

const idOf = ({ headers }: InboxRecord): string => String(headers['ce_id'])
const broken = { value: Buffer.from('{"userId":') }

const handle = (...records: InboxRecord[]) =>
  handleBatch(test.as('likewise_consumer'), {
    scope: { consumer, topic: 'catalog-events', partition: 0 },
    records,
    horizon: { dedupHorizonMs: 30 * dayMs, futureMaxMs: dayMs },
    work: applyToProductMetrics,
  })

const mend = (offset: number) =>
  test.db.execute(sql`
    update metrics.dead_letters set record_value = convert_to(format(
      '{"userId":%s,"productId":%s,"createdAt":"2026-11-22T09:14:05Z"}', record_offset + 1, record_key), 'UTF8')
    where record_offset = ${offset}::bigint`)

/** What `likewise dead-letters …` says. */
async function run(...words: string[]): Promise<string> {
  said = []
  const program = new Command().exitOverride().configureOutput({ writeErr: () => undefined })
  addDeadLetterCommands(program, (line) => void said.push(line))
  for (const one of program.commands[0]?.commands ?? [])
    one.exitOverride().configureOutput({ writeErr: () => undefined })
  await program.parseAsync(['node', 'likewise', 'dead-letters', ...words])
  return said.join('\n')
}

const count = async (product: number) => (await readProductMetrics(test.db, product)).likeCount
const unresolved = async () =>
  (await test.db.query(sql`select 1 from metrics.dead_letters where resolved_at is null`)).length

describe('likewise dead-letters list', () => {
  it('shows what waits and why, and fits what is asked for', async () => {
    expect(await run('list')).toBe('No unresolved dead letter.')
    await handle(record(0, 1, broken), record(1, 1), record(2, 2, { value: null }))
    const all = await run('list')
    expect(all).toContain('catalog-events/0@0  not_json')
    expect(all).toContain('behind_parked')
    expect((await run('list', '--reason', 'no_value')).split('\n')).toHaveLength(2)
    expect(await run('list', '--key', '3')).toBe('No unresolved dead letter that fits.')
    expect(await run('list', '--limit', '1')).toContain('The first 1 of 3; --limit shows more.')
    expect(await run('list', '--to', '2020-01-01T00:00:00Z')).toBe('No unresolved dead letter that fits.')
    expect(await run('list', '--consumer', 'another')).toBe('No unresolved dead letter.')
    const json = JSON.parse(await run('list', '--json', '--from', '2020-01-01')) as unknown[]
    expect(json).toMatchObject([{ id: 1, key: '1', reason: 'not_json', offset: 0 }, { id: 2 }, { id: 3 }])
  })

  it('shows what was resolved as well, if asked', async () => {
    await handle(record(0, 1, broken))
    await run('discard', '--key', '1')
    expect(await run('list')).toBe('No unresolved dead letter.')
    expect(await run('list', '--all')).toContain('discarded')
  })
})

describe('likewise dead-letters show', () => {
  it('shows the whole record, what is behind it, and what mends it', async () => {
    const head = record(0, 1, broken)
    await handle(head, record(1, 1), record(2, 1))
    const text = await run('show', idOf(head))
    for (const part of [
      'Dead letter 1',
      'reason    not_json: the value is not JSON: "{\\"userId\\":"',
      `ce_id: ${idOf(head)}`,
      'value (10 bytes)\n    {"userId":',
      'its key waits for it; 2 behind it',
      'This version cannot read it',
      'likewise dead-letters discard --id 1   gives it up',
    ])
      expect(text).toContain(part)
    expect(await run('show', '2')).toContain('waits behind 1 (not_json), 3 of its key in all')
    expect(await run('show', '2')).toContain('likewise dead-letters show 1')
    await mend(0)
    expect(await run('show', '1')).toContain('likewise dead-letters redrive --key 1   applies it')
    await run('redrive', '--key', '1')
    expect(await run('show', '1')).toMatch(/state +redriven 20.*\n[^]*Nothing to do\.$/)
  })

  it('shows bytes that are no text as bytes, and nothing that could drive a terminal', async () => {
    const headers = {
      ...record(0, 1).headers,
      raw: Buffer.from([0, 255]),
      evil: '\u001b[2J',
      none: null,
      two: ['1', '2'],
    }
    await handle(
      record(0, 1, { value: Buffer.from([0xff, 0x00, 0x10]), headers }),
      record(1, 2, { value: Buffer.from('\u001b]0;x\u0007') }),
    )
    const text = await run('show', '1')
    for (const part of [
      'value (3 bytes, no UTF-8)\n    ff 00 10',
      'raw: 0x00ff',
      'evil: \\u001b[2J',
      'none: (no value)',
      'two: 1\n    two: 2',
    ])
      expect(text).toContain(part)
    expect(text + (await run('show', '2'))).not.toContain('\u001b')
    expect(JSON.parse(await run('show', '1', '--json'))).toMatchObject({
      id: 1,
      record: { value: '/wAQ', headers: { raw: 'AP8=' } },
      waiting: 1,
    })
  })

  it('says that force is needed where nobody can tell whether the event had its effect', async () => {
    await handle(record(0, 1, {}, Date.now() - 31 * dayMs))
    expect(await run('show', '1')).toContain('likewise dead-letters redrive --id 1 --force')
    expect(await run('show', '1', '--consumer', consumer)).toContain(`--force --consumer ${consumer}`)
  })

  it('says so where there is none', async () => {
    await expect(run('show', randomUUID())).rejects.toMatchObject({ code: 'NOT_FOUND', message: expect.stringContaining('has no dead letter of event') }) // prettier-ignore
    await expect(run('show', '77')).rejects.toMatchObject({ code: 'NOT_FOUND', message: expect.stringContaining('number 77') }) // prettier-ignore
    await expect(run('show', 'x')).rejects.toMatchObject({ code: 'commander.invalidArgument' })
  })
})

describe('likewise dead-letters redrive', () => {
  it('counts what was parked, in order, and the key flows again (I9, I3)', async () => {
    await handle(record(0, 1, broken), record(1, 1), record(2, 2))
    await mend(0)
    const text = await run('redrive', '--key', '1', '--by', 'ann')
    expect(text).toContain('2 dead letters redriven; its key waits for nothing.')
    expect([await count(1), await count(2), await unresolved()]).toEqual([2, 1, 0])
    expect(process.exitCode).not.toBe(1)
    await handle(record(3, 1))
    expect(await count(1)).toBe(3)
    expect(await test.db.query(sql`select actor, action from metrics.inbox_audit`)).toEqual([
      { actor: 'ann', action: 'redrive' },
      { actor: 'ann', action: 'redrive' },
    ])
  })

  it('tells a rehearsal apart, and changes nothing in it', async () => {
    await handle(record(0, 1, broken), record(1, 1))
    await mend(0)
    expect(await run('redrive', '--reason', 'not_json', '--dry-run')).toContain(
      '2 dead letters would be redriven; its key waits for nothing. Nothing was changed.',
    )
    expect([await count(1), await unresolved()]).toEqual([0, 2])
  })

  it('exits 1 and says which and why where one that was asked for stays', async () => {
    await handle(record(0, 1, broken), record(1, 1))
    const text = await run('redrive', '--key', '1')
    expect(text).toContain('1: the value is not JSON')
    expect(text).toContain('0 dead letters redriven, 2 of those asked for stay; its key waits on.')
    expect(process.exitCode).toBe(1)
  })

  it('is refused, in a sentence, where it says nothing, finds nothing, or would break the order', async () => {
    const tail = record(1, 1)
    await handle(record(0, 1, broken), tail)
    await expect(run('redrive')).rejects.toMatchObject({ message: expect.stringContaining('Say which dead letters') }) // prettier-ignore
    await expect(run('redrive', '--event', randomUUID())).rejects.toMatchObject({ code: 'NOT_FOUND', message: expect.stringContaining('No unresolved dead letter of metrics-consumer is event') }) // prettier-ignore
    await expect(run('redrive', '--event', idOf(tail))).rejects.toMatchObject({ code: 'CONFLICT', message: expect.stringContaining('It waits behind event') }) // prettier-ignore
    await expect(run('redrive', '--event', 'x')).rejects.toMatchObject({ code: 'commander.invalidArgument' })
    await expect(run('redrive', '--event', idOf(tail), '--id', '1')).rejects.toMatchObject({ code: 'commander.conflictingOption' }) // prettier-ignore
  })

  it('applies by force what is too old', async () => {
    await handle(record(0, 1, {}, Date.now() - 31 * dayMs))
    expect(await run('redrive', '--id', '1')).toContain('--force applies it all the same')
    expect(await run('redrive', '--id', '1', '--force')).toContain('1 dead letter redriven')
    expect(await count(1)).toBe(1)
  })
})

describe('likewise dead-letters discard', () => {
  it('gives up what a key waits for, and applies what waited behind it (I9)', async () => {
    const head = record(0, 1, broken)
    await handle(head, record(1, 1))
    const json = JSON.parse(await run('discard', '--event', idOf(head), '--json')) as unknown
    expect(json).toMatchObject({
      keys: 1,
      discarded: 1,
      redriven: 1,
      blocked: 0,
      first: [{ key: '1', waiting: 0 }],
    })
    expect(await count(1)).toBe(1)
  })
})
