import { sql } from '@likewise/database'
import { Failure } from '@likewise/service'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { type Told, idAt, recordOf, withoutEnd } from './letter-testing.ts'
import type { RedriveAction } from './move-key.ts'
import { type Bench, applyAs, freshBenches } from './redrive-testing.ts'

const dayMs = 86_400_000
let test: Awaited<ReturnType<typeof freshBenches>>
let bench: Bench

beforeAll(async () => {
  test = await freshBenches('redrive')
})
afterAll(() => test.drop())
beforeEach(() => {
  bench = test.bench()
})

const like = (offset: number, product = 1, told: Partial<Told> = {}) => recordOf({ offset, product, ...told })
const broken = (offset: number, product = 1) => recordOf({ offset, product }, withoutEnd)
const idOf = (record: ReturnType<typeof like>): string => String(record.headers['ce_id'])

/** Key 1 waits behind offset 0 with two more, key 2 flows. */
const parkKeyOne = () => bench.handle([broken(0), like(1), like(2), like(3, 2)])

const everything = async () => ({
  letters: await bench.db.query(sql`select * from metrics.dead_letters where consumer = ${bench.consumer} order by id`),
  handled: await bench.db.query(sql`select * from metrics.event_handled where consumer = ${bench.consumer} order by event_id`),
  marks: await bench.db.query(sql`select * from metrics.consumer_offsets where consumer = ${bench.consumer} order by partition`),
  audit: await bench.db.query(sql`select * from metrics.inbox_audit where consumer = ${bench.consumer} order by id`),
  applied: await bench.applied(),
}) // prettier-ignore

const audit = () =>
  bench.db.query(sql`
    select actor, action, record_key as key, event_id::text as event, detail from metrics.inbox_audit
    where consumer = ${bench.consumer} order by id`)

describe('a redrive of a key', () => {
  it('applies its letters in order, once, and frees the key (I9, I4, I2)', async () => {
    await parkKeyOne()
    await bench.mend(0)
    expect(await bench.redrive({ key: '1' })).toEqual([
      expect.objectContaining({ key: '1', redriven: 3, duplicates: 0, waiting: 0, left: 0, stays: [] }),
    ])
    expect(await bench.applied()).toEqual([3, 0, 1, 2])
    await bench.handle([like(4)])
    expect(await bench.applied()).toEqual([3, 0, 1, 2, 4])
    await expect(bench.redrive({ key: '1' })).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('leaves a letter that still cannot be read, and all behind it, and says so (I9)', async () => {
    await parkKeyOne()
    const [outcome] = await bench.redrive({ key: '1' })
    expect(outcome).toMatchObject({ redriven: 0, waiting: 3, left: 3 })
    expect(outcome?.stays).toEqual([
      { letter: expect.objectContaining({ offset: 0n }), why: expect.stringContaining('not JSON') },
    ])
    expect(await bench.applied()).toEqual([3])
  })

  it('goes on where a letter in the middle could be read meanwhile, and stops at the next that cannot (I4)', async () => {
    await bench.handle([broken(0), like(1), broken(2), like(3), broken(4), like(5)])
    await bench.mend(0, 2)
    expect((await bench.redrive({ key: '1' }))[0]).toMatchObject({ redriven: 4, waiting: 2, left: 2 })
    expect(await bench.applied()).toEqual([0, 1, 2, 3])
  })

  it('reads a long tail in pages, in order', async () => {
    await bench.handle([broken(0), ...Array.from({ length: 1_700 }, (_, i) => like(i + 1))])
    await bench.mend(0)
    expect((await bench.redrive({ key: '1' }))[0]).toMatchObject({ redriven: 1_701, waiting: 0 })
    expect(await bench.applied()).toEqual(Array.from({ length: 1_701 }, (_, i) => i))
  })

  it('takes the letters of a partition that was added later after those of the old one', async () => {
    await bench.handle([like(50, 1), like(51, 2)], 12, async () => undefined)
    await bench.handle([broken(0), like(1)])
    await bench.handle([like(52), like(53)], 12)
    await bench.mend(0)
    await bench.redrive({ key: '1' })
    expect(await bench.applied()).toEqual([0, 1, 52, 53])
  })

  it('counts as a duplicate what had its effect by another copy (I2)', async () => {
    const first = like(0)
    await bench.handle([first, broken(1), { ...like(2), headers: first.headers }])
    await bench.mend(1)
    expect((await bench.redrive({ key: '1' }))[0]).toMatchObject({ redriven: 1, duplicates: 1, waiting: 0 })
    expect(await bench.applied()).toEqual([0, 1])
  })
})

describe('a redrive of one event', () => {
  it('is refused while an earlier letter of its key waits, with a sentence that names that one (I4)', async () => {
    const [head, tail] = [broken(0), like(1)]
    await bench.handle([head, tail])
    const before = await everything()
    await expect(bench.redrive({ eventId: idOf(tail) })).rejects.toMatchObject({
      code: 'CONFLICT',
      message: expect.stringContaining(
        `It waits behind event ${idOf(head)} of key 1, which is parked as not_json`,
      ),
    })
    expect(await everything()).toEqual(before)
  })

  it('takes along what only waited behind it, up to the next that was parked for itself', async () => {
    const head = broken(0)
    await bench.handle([head, like(1), broken(2), like(3)])
    await bench.mend(0, 2)
    expect((await bench.redrive({ eventId: idOf(head) }))[0]).toMatchObject({
      redriven: 2,
      waiting: 2,
      left: 0,
    })
    expect(await bench.applied()).toEqual([0, 1])
  })
})

describe('a redrive of many keys', () => {
  it('by reason moves each key whose first letter has it, and no other (I9)', async () => {
    await bench.handle([
      broken(0),
      like(1),
      recordOf({ offset: 2, product: 2 }, { value: null }),
      like(3, 2),
      broken(4, 3),
    ])
    await bench.mend(0, 2, 4)
    const outcomes = await bench.redrive({ reason: 'not_json' })
    expect(outcomes.map(({ key, redriven }) => [key, redriven])).toEqual([['1', 2], ['3', 1]]) // prettier-ignore
    expect(await bench.applied()).toEqual([0, 1, 4])
  })

  it('by the time at which they were parked', async () => {
    await bench.handle([broken(0), broken(1, 2)])
    await bench.mend(0, 1)
    await bench.db.execute(sql`
      update metrics.dead_letters set parked_at = now() - interval '2 hours'
      where consumer = ${bench.consumer} and record_offset = 0`)
    const hourAgo = new Date(Date.now() - 3_600_000)
    await bench.redrive({ parkedTo: hourAgo })
    expect(await bench.applied()).toEqual([0])
    await bench.redrive({ parkedFrom: hourAgo })
    expect(await bench.applied()).toEqual([0, 1])
  })

  it('goes through more keys than fit a page', async () => {
    const keys = Array.from({ length: 1_100 }, (_, i) => i + 1)
    await bench.handle(keys.map((key) => broken(key, key)))
    await bench.mend(...keys)
    expect(await bench.redrive({})).toHaveLength(1_100)
    expect((await bench.applied()).sort((a, b) => a - b)).toEqual(keys)
  }, 240_000)
})

describe('keys with nothing to decide about', () => {
  const keys = Array.from({ length: 40 }, (_, i) => i + 1)
  /** Of each key one that cannot be read and two behind it, the keys by turns. */
  const parked = () => [0, 1, 2].flatMap((turn) => keys.map((key, i) => (turn === 0 ? broken(i, key) : like(turn * 40 + i, key)))) // prettier-ignore
  const transactions = async () =>
    bench.db.query<{ letters: number }>(sql`
      select count(*)::int as letters from metrics.inbox_audit where consumer = ${bench.consumer}
      group by xmin order by 1`)
  /** Offsets that were applied, of one key, in order. */
  const ofKey = async (key: number) => (await bench.applied()).filter((offset) => offset % 40 === key - 1)

  it('share a transaction, and each has its effects in order, once, and each letter its line of the log (I2, I4)', async () => {
    await bench.handle(parked())
    await bench.mend(...keys.map((_, i) => i))
    const outcomes = await bench.redrive({ reason: 'not_json' })
    expect(outcomes).toHaveLength(40)
    for (const outcome of outcomes)
      expect(outcome).toMatchObject({ redriven: 3, duplicates: 0, waiting: 0, left: 0 })
    for (const key of keys) expect(await ofKey(key)).toEqual([key - 1, 39 + key, 79 + key])
    expect(await transactions()).toEqual([{ letters: 120 }])
    await bench.handle([like(120, 1)])
    expect((await bench.applied()).at(-1)).toBe(120)
  })

  it('share as many as there is behind them, where only their first letters were asked for (I4)', async () => {
    const turns = Array.from({ length: 20 }, (_, turn) => turn)
    await bench.handle(
      turns.flatMap((turn) => keys.map((key, i) => (turn === 0 ? broken(i, key) : like(turn * 40 + i, key)))),
    )
    await bench.mend(...keys.map((_, i) => i))
    const outcomes = await bench.redrive({ reason: 'not_json' })
    expect(outcomes.filter(({ redriven, waiting }) => redriven === 20 && waiting === 0)).toHaveLength(40)
    expect(await transactions()).toEqual([{ letters: 200 }, { letters: 300 }, { letters: 300 }])
    for (const key of keys) expect(await ofKey(key)).toEqual(turns.map((turn) => turn * 40 + key - 1))
  })

  it('go without the ones that have, which are moved by themselves (I9)', async () => {
    await bench.handle(parked())
    await bench.mend(...keys.map((_, i) => i).filter((i) => i !== 6))
    const seventh = { key: '7', redriven: 0, waiting: 3, left: 1 }
    const outcomes = await bench.redrive({ reason: 'not_json' })
    expect(outcomes.find(({ key }) => key === '7')).toMatchObject(seventh)
    expect(outcomes.filter(({ redriven }) => redriven === 3)).toHaveLength(39)
    expect(await transactions()).toEqual([{ letters: 117 }])
  })

  it('are moved one by one where the effect rejects an event of one of them (I9)', async () => {
    await bench.handle(parked())
    await bench.mend(...keys.map((_, i) => i))
    const work: RedriveAction['work'] = async (tx, events) => {
      await applyAs(bench.consumer)(tx, events)
      if (events.some(({ data }) => data.userId === 47)) throw new Error('It is the 47th.')
    }
    const outcomes = await bench.redrive({ reason: 'not_json' }, { work })
    expect(outcomes.find(({ key }) => key === '7')).toMatchObject({ redriven: 1, waiting: 2 })
    expect(outcomes.filter(({ redriven }) => redriven === 3)).toHaveLength(39)
    expect(await transactions()).toHaveLength(40)
    expect(await ofKey(7)).toEqual([6])
  })

  it('are discarded together, and what had waited behind is applied in order; a dry run changes nothing (I4, I9)', async () => {
    await bench.handle(parked())
    const rehearsed = await bench.discard({ reason: 'not_json' }, { dryRun: true })
    expect(await bench.applied()).toEqual([])
    expect(await bench.discard({ reason: 'not_json' })).toEqual(rehearsed)
    expect(rehearsed[0]).toMatchObject({ discarded: 1, redriven: 2, waiting: 0, left: 0 })
    expect(await transactions()).toEqual([{ letters: 120 }])
    for (const key of keys) expect(await ofKey(key)).toEqual([39 + key, 79 + key])
  })
})

describe('what stands alone', () => {
  it.each([
    ['too_old', () => like(0, 1, { madeMs: Date.now() - 31 * dayMs })],
    ['from_future', () => like(0, 1, { madeMs: Date.now() + 2 * dayMs })],
    ['bad_id', () => ({ ...like(0), headers: { ...like(0).headers, ce_id: '42' } })],
  ])('%s is applied by force only, and once (I2)', async (reason, make) => {
    const one = make()
    await bench.handle([one, like(1)])
    expect((await bench.redrive({ reason }))[0]).toMatchObject({
      redriven: 0,
      left: 1,
      stays: [{ why: expect.stringContaining('--force') }],
    })
    expect((await bench.redrive({ reason }, { force: true }))[0]).toMatchObject({
      redriven: 1,
      left: 0,
      waiting: 0,
    })
    expect(await bench.applied()).toEqual([1, 0])
    await bench.forgetMarks()
    await bench.handle([one, like(2)])
    expect(await bench.applied()).toEqual([1, 0, 2])
    expect(await bench.letters()).toEqual([[0, reason, 'redriven']])
    expect(await audit()).toMatchObject([{ detail: expect.stringMatching(`^forced; ${reason}: `) }])
  })

  it('is passed over where it must stay, in each page, and holds nobody up', async () => {
    const old = (offset: number) => like(offset, 1, { madeMs: Date.now() - 31 * dayMs })
    await bench.handle([...Array.from({ length: 600 }, (_, i) => old(i)), broken(600), like(601)])
    await bench.mend(600)
    const [outcome] = await bench.redrive({ key: '1' })
    expect(outcome).toMatchObject({ redriven: 2, waiting: 0, left: 600 })
    expect(outcome?.stays).toHaveLength(10)
  })

  it('is discarded also where it has no key, or one that no event has', async () => {
    const odd = [null, '', '0100', 'x'.repeat(5_000)].map((key, i) =>
      recordOf({ offset: i, product: 1 }, { key }),
    )
    await bench.handle(odd)
    const outcomes = await bench.discard({ reason: 'key_mismatch' })
    expect(outcomes.map(({ key, discarded }) => [key, discarded])).toEqual([[null, 3], ['0100', 1]]) // prettier-ignore
  })
})

describe('a letter that the effect rejects', () => {
  const rejects = (...users: number[]) => ({
    work: async (...[tx, events]: Parameters<ReturnType<typeof applyAs>>) => {
      await applyAs(bench.consumer)(tx, events)
      for (const { data } of events) {
        if (users.includes(data.userId)) await tx.execute(sql`select 1 / ${0}::int`)
      }
    },
  })

  it('stays with its new reason and all behind it; what was before it stays applied (I9, I4)', async () => {
    await bench.handle([broken(0), ...[1, 2, 3, 4, 5].map((offset) => like(offset))])
    await bench.mend(0)
    const [outcome] = await bench.redrive({ key: '1' }, rejects(4))
    expect(outcome).toMatchObject({ redriven: 3, waiting: 3, left: 3 })
    expect(outcome?.stays[0]?.why).toContain('division by zero')
    expect(await bench.applied()).toEqual([0, 1, 2])
    const rows = await bench.db.query(sql`
      select reason, attempts, detail from metrics.dead_letters
      where consumer = ${bench.consumer} and resolved_at is null order by id`)
    expect(rows).toMatchObject([
      { reason: 'failed', attempts: 2, detail: expect.stringContaining('division by zero') },
      { reason: 'behind_parked', attempts: 1 },
      { reason: 'behind_parked', attempts: 1 },
    ])
    await bench.redrive({ reason: 'failed' })
    expect(await bench.applied()).toEqual([0, 1, 2, 3, 4, 5])
  })

  it('changes nothing where the fault is an outage, not the event', async () => {
    await parkKeyOne()
    await bench.mend(0)
    const before = await everything()
    const work = async () => {
      throw new Failure('DATABASE_UNAVAILABLE', 'away')
    }
    await expect(bench.redrive({ key: '1' }, { work })).rejects.toMatchObject({
      code: 'DATABASE_UNAVAILABLE',
    })
    expect(await everything()).toEqual(before)
  })
})

describe('a discard', () => {
  it('of the letter that a key waits for applies what waited behind it, in order (I9, I4)', async () => {
    await parkKeyOne()
    expect(await bench.discard({ reason: 'not_json' })).toEqual([
      expect.objectContaining({ key: '1', discarded: 1, redriven: 2, waiting: 0 }),
    ])
    expect(await bench.applied()).toEqual([3, 1, 2])
    await bench.handle([like(4)])
    expect(await bench.applied()).toEqual([3, 1, 2, 4])
  })

  it('of a whole key drops all of it, and the key flows', async () => {
    await parkKeyOne()
    expect((await bench.discard({ key: '1' }))[0]).toMatchObject({ discarded: 3, redriven: 0, waiting: 0 })
    await bench.handle([like(4)])
    expect(await bench.applied()).toEqual([3, 4])
  })

  it('of one in the middle leaves the others waiting', async () => {
    const middle = like(1)
    await bench.handle([broken(0), middle, like(2)])
    expect((await bench.discard({ eventId: idOf(middle) }))[0]).toMatchObject({
      discarded: 1,
      redriven: 0,
      waiting: 2,
    })
  })

  it('holds for every copy of its event: a replay and a second copy have no effect (I2)', async () => {
    const gone = like(1)
    await bench.handle([broken(0), gone])
    await bench.discard({ key: '1' })
    await bench.forgetMarks()
    await bench.handle([broken(0), gone, { ...like(2), headers: gone.headers }, like(3)])
    expect(await bench.applied()).toEqual([3])
  })

  it('of what cannot be read lets a mended copy with the same id in', async () => {
    const bad = broken(0)
    await bench.handle([bad])
    await bench.discard({ key: '1' })
    await bench.handle([{ ...like(1), headers: bad.headers }])
    expect(await bench.applied()).toEqual([1])
  })
})

describe('a dry run', () => {
  it.each(['redrive', 'discard'] as const)('of a %s tells what would become of each key and changes nothing', async (verb) => {
    await parkKeyOne()
    await bench.handle([broken(4, 2), like(5, 3, { madeMs: Date.now() - 31 * dayMs })])
    await bench.mend(0)
    const before = await everything()
    const rehearsed = await bench[verb]({}, { dryRun: true, force: true })
    expect(await everything()).toEqual(before)
    expect(await bench[verb]({}, { force: true })).toEqual(rehearsed)
    expect(rehearsed.map(({ redriven, discarded }) => redriven + discarded)).toEqual(
      verb === 'redrive' ? [3, 0, 1] : [3, 1, 1],
    )
  }) // prettier-ignore
})

it('who redrove and who discarded which letter is written down', async () => {
  const [first, second] = [broken(0), like(1)]
  await bench.handle([first, second])
  await bench.discard({ eventId: idOf(first) }, { actor: 'ann@desk' })
  expect(await audit()).toEqual([
    { actor: 'ann@desk', action: 'discard', key: '1', event: idOf(first), detail: expect.stringMatching('^not_json: ') },
    { actor: 'ann@desk', action: 'redrive', key: '1', event: idOf(second), detail: expect.stringMatching('^behind_parked: ') },
  ]) // prettier-ignore
})

it('a replay after a redrive parks nothing twice, un-resolves nothing and applies nothing again (I2)', async () => {
  const batch = [
    broken(0),
    like(1),
    like(2, 2),
    { ...like(3), headers: { ...like(3).headers, ce_id: idAt(1) } },
  ]
  await bench.handle(batch)
  await bench.mend(0)
  await bench.redrive({ key: '1' }, { force: true })
  const [letters, applied] = [await bench.letters(), await bench.applied()]
  await bench.forgetMarks()
  expect(await bench.handle(batch)).toMatchObject({ handled: 0, parked: [] })
  expect(await bench.letters()).toEqual(letters)
  expect(await bench.applied()).toEqual(applied)
})

it('where a mark was lost, nothing that had its effect parks behind a letter of its key', async () => {
  const batch = [like(0), like(1), broken(2), like(3)]
  await bench.handle(batch)
  const letters = await bench.letters()
  await bench.forgetMarks()
  expect(await bench.handle(batch)).toMatchObject({ handled: 0, duplicates: 2 })
  expect(await bench.letters()).toEqual(letters)
  await bench.mend(2)
  await bench.redrive({ key: '1' })
  expect(await bench.applied()).toEqual([0, 1, 2, 3])
})
