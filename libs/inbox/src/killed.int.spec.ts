import { randomUUID } from 'node:crypto'
import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, urlAs } from '@likewise/database/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals'
import type { InboxRecord } from './judgement.ts'
import { readMarks } from './offsets.ts'
import { type ChildEnd, likeRecord, runChild } from './testing.ts'

// Each test starts several processes, of a second or two each.
jest.setTimeout(120_000)

const topic = 'catalog-events'
let test: TestDatabase
let consumer: string

beforeAll(async () => {
  test = await freshDatabase('killed')
  await test.db.execute(
    sql`create table applied (consumer text, n bigint); grant select, insert on applied to public`,
  )
})
afterAll(() => test.drop())
beforeEach(() => {
  consumer = `test-${randomUUID()}`
})

interface Run {
  /** By partition. */
  batches: InboxRecord[][]
  /** Code that runs in the work before the effect of each event, with `n` (its offset), `alive` and `tx`. */
  work?: string
  onOut?: (out: string, pid: number) => void
}

/** A consumer that takes over all partitions at once, in a process of its own, and writes `handled` when it is done. */
function consume({ batches, work = '', onOut }: Run): Promise<ChildEnd> {
  const wire = batches.map((records) =>
    records.map((r) => ({ ...r, offset: String(r.offset), value: Buffer.from(r.value!).toString('base64') })),
  )
  const program = `
    import { connectDatabase, sql } from '@likewise/database'
    import { buildLogger, buildTelemetry } from '@likewise/service'
    import { buildHandler } from './handler.ts'
    const batches = ${JSON.stringify(wire)}
    const consumer = ${JSON.stringify(consumer)}
    const url = ${JSON.stringify(urlAs('likewise_consumer', test.url))}
    const db = connectDatabase({ url, poolSizeMax: 8, connectTimeoutMs: 5000, statementTimeoutMs: 20000, applicationName: 'child' })
    const log = buildLogger({ service: 'child', level: 'silent' })
    const say = (text) => new Promise((resolve) => process.stdout.write(text + '\\n', resolve))
    const never = () => new Promise(() => setInterval(() => {}, 1000))
    const onBatch = buildHandler({
      db, log, telemetry: buildTelemetry('child'), consumer, transactionsAtOnceMax: 3,
      horizon: { dedupHorizonMs: 30 * 86400000, futureMaxMs: 86400000 },
      work: async (tx, fresh) => {
        for (const event of fresh) {
          const n = event.data.userId - 1
          ${work}
          await tx.execute(sql\`insert into applied (consumer, n) values (\${consumer}, \${n}::bigint)\`)
        }
      },
    })
    const read = async (batch) => {
      while ((await onBatch(batch)) !== undefined) batch = { ...batch, isFirst: false }
    }
    await Promise.all(batches.map((records, partition) => read({
      topic: '${topic}', partition, isFirst: true, logEnd: 1000n, stopping: new AbortController().signal,
      records: records.map((r) => ({ ...r, offset: BigInt(r.offset), value: Buffer.from(r.value, 'base64') })),
    })))
    await say('handled')
    process.exit(0)`
  return runChild(program, onOut)
}

async function applied(): Promise<number[]> {
  const rows = await test.db.query<{ n: bigint }>(
    sql`select n from applied where consumer = ${consumer} order by n`,
  )
  return rows.map(({ n }) => Number(n))
}
const letters = () =>
  test.db.query<{ partition: number; offset: bigint; reason: string; detail: string; attempts: number }>(sql`
    select partition, record_offset as offset, reason, detail, attempts from metrics.dead_letters
    where consumer = ${consumer} order by partition, record_offset`)
const marks = async () =>
  (await readMarks(test.as('likewise_consumer'), consumer, topic)).map(({ nextOffset }) => Number(nextOffset))
const likes = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => likeRecord(from + i, 100 + from + i))

/** Starts it again and again, as a platform does, until it stays. @returns how many ended before that */
async function deathsOf(run: Run): Promise<number> {
  for (let deaths = 0; deaths < 10; deaths += 1) {
    const { code, out } = await consume(run)
    if (code === 0) return deaths
    expect(out).not.toContain('Error')
  }
  throw new Error('it never stayed')
}

describe('a record that kills the process (I9)', () => {
  it('is parked at its third start, where it came alone', async () => {
    const batches = [[likeRecord(0)]]
    expect(await deathsOf({ batches, work: 'process.abort()' })).toBe(2)
    expect(await letters()).toEqual([
      {
        partition: 0,
        offset: 0n,
        reason: 'failed',
        detail: 'the process ended 2 times while it had this record in hand, and nothing else',
        attempts: 2,
      },
    ])
    expect([await applied(), await marks()]).toEqual([[], [1]])
  })

  it('is found in its batch and parked at its third start alone; everything else has its effect once', async () => {
    const batches = [likes(7)]
    expect(await deathsOf({ batches, work: 'if (n === 4) process.exit(9)' })).toBe(3)
    expect(await letters()).toMatchObject([{ offset: 4n, reason: 'failed' }])
    expect(await applied()).toEqual([0, 1, 2, 3, 5, 6])
    expect(await marks()).toEqual([7])
  })

  it('takes no innocent one with it that was in hand beside it, in its own batch or in another partition', async () => {
    const batches = [likes(4), [likeRecord(10)], [likeRecord(20), likeRecord(21)]]
    // The others are still in hand when the killer strikes: they wait for it as long as it is in hand with them.
    const work = `
      if (n === 2) { await new Promise((resolve) => setTimeout(resolve, 200)); process.exit(9) }
      if (n >= 10) await new Promise((resolve) => setTimeout(resolve, 400))`
    await deathsOf({ batches, work })
    expect(await letters()).toMatchObject([{ partition: 0, offset: 2n, reason: 'failed' }])
    expect(await applied()).toEqual([0, 1, 3, 10, 20, 21])
  })
})

// What one kill leaves behind is shown with whole processes: e2e/src/faults/consumer/killed.spec.ts.
describe('a process that is killed with SIGKILL', () => {
  const killAt = (word: string) => (out: string, pid: number) => {
    if (out.includes(word)) process.kill(pid, 'SIGKILL')
  }

  it('time after time, as by deploys, parks nothing of a batch that was in hand', async () => {
    const batches = [likes(3)]
    // Another record each time, once they go one by one: no one record is in hand at every death.
    for (const at of [2, 0, 1, 2]) {
      await consume({
        ...{ batches, onOut: killAt('in hand') },
        work: `if (n === ${String(at)}) { await say('in hand'); await never() }`,
      })
    }
    expect(await letters()).toEqual([])
    expect((await consume({ batches })).code).toBe(0)
    expect([await applied(), await letters()]).toEqual([[0, 1, 2], []])
  })
})
