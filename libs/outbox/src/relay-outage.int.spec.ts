import { type Database, type Sql, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { shardOf } from '@likewise/events'
import { Failure, type Telemetry, buildLogger, buildTelemetry, pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { enqueue } from './enqueue.ts'
import type { OutboxEvent } from './page.ts'
import { type Relay, type RelayLimits, startRelay } from './relay.ts'

const limits: RelayLimits = {
  pageRowsMax: 5,
  pageBytesMax: 100_000,
  pollMinMs: 2,
  pollMaxMs: 20,
  leaseMs: 3_000,
  backoffBaseMs: 2,
  backoffCapMs: 10,
}
const log = buildLogger({ service: 'test', level: 'silent' })
const brokerAway = () => new Failure('BROKER_UNAVAILABLE', 'Kafka does not take records: nobody listens.')
const databaseBusy = () =>
  new Failure('DATABASE_BUSY', 'PostgreSQL cancels the statement: statement timeout.')
const databaseAway = () => new Failure('DATABASE_UNAVAILABLE', 'PostgreSQL is not available: cut.')

let test: TestDatabase
let sent: string[]
let bugs: unknown[]
let telemetry: Telemetry
let relay: Relay | undefined

beforeEach(async () => {
  test = await freshDatabase('relay_outage')
  sent = []
  bugs = []
})
afterEach(async () => {
  await relay?.stop()
  relay = undefined
  await test.drop()
})

type Publish = (events: readonly OutboxEvent[]) => Promise<void>

function start(publish: Publish = taken, db: Database = test.db, change: Partial<RelayLimits> = {}): void {
  const note: Publish = async (events) => {
    await publish(events)
    sent.push(...events.map(({ payload }) => (JSON.parse(payload) as { name: string }).name))
  }
  telemetry = buildTelemetry('test')
  const fail = (error: unknown) => bugs.push(error)
  relay = startRelay({
    db,
    url: test.url,
    limits: { ...limits, ...change },
    log,
    telemetry,
    publish: note,
    fail,
  })
}

const taken: Publish = async () => {}

async function write(names: readonly string[], key = '100'): Promise<void> {
  for (const name of names) {
    const payload = JSON.stringify({ name })
    const about = { eventType: 'test.happened.v1', aggregateType: 'product', aggregateId: key, topic: 'test' }
    await enqueue(test.db, { ...about, partitionKey: key, payload })
  }
}

const numbered = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}${String(i).padStart(4, '0')}`)

async function until(what: string, holds: () => boolean | Promise<boolean>, limitMs = 15_000): Promise<void> {
  for (const end = performance.now() + limitMs; !(await holds()); await pause(10)) {
    if (performance.now() > end) throw new Error(`Not within ${String(limitMs)} ms: ${what}`)
  }
}

interface StatusRow {
  name: string
  status: string
  attempts: number
  error: string | null
}

const statuses = (): Promise<StatusRow[]> =>
  test.db.query<StatusRow>(sql`
    select payload->>'name' as name, status, retry_count as attempts, last_error as error
    from catalog.outbox_status where status <> 'PUBLISHED' order by seq`)

const allPublished = () => until('all are published', async () => (await statuses()).length === 0)
const firstCopies = (): string[] => [...new Set(sent)]

async function counted(metric: string): Promise<number> {
  const line = (await telemetry.text()).split('\n').find((text) => text.startsWith(metric))
  return Number(line?.split(' ').at(-1) ?? 0)
}

describe('while the broker is away', () => {
  it('shows the growing attempts and the error, and loses nothing once it is back', async () => {
    let away = true
    const names = numbered('away-', 12)
    await write(names)
    start(async () => {
      if (away) throw brokerAway()
    })
    await until('5 attempts', async () => ((await statuses())[0]?.attempts ?? 0) >= 5)
    const [first, ...others] = await statuses()
    expect(first).toMatchObject({ name: names[0], status: 'FAILED', error: brokerAway().message })
    expect(others.map(({ status }) => status)).toEqual(Array.from({ length: 11 }, () => 'FAILED'))
    await until('more attempts', async () => ((await statuses())[0]?.attempts ?? 0) > (first?.attempts ?? 0))
    expect(sent).toEqual([])
    expect(
      await counted('likewise_outbox_publish_failures_total{reason="BROKER_UNAVAILABLE"}'),
    ).toBeGreaterThan(5)

    away = false
    await allPublished()
    expect(sent).toEqual(names)
    expect(bugs).toEqual([])
  })

  it('counts attempts anew after a success', async () => {
    let left = 3
    await write(numbered('anew-', 7))
    start(async (events) => {
      if (left > 0 || events.some(({ payload }) => payload.includes('0006'))) {
        left -= 1
        throw brokerAway()
      }
    })
    await until('the second page fails', async () => {
      const [first] = await statuses()
      return first?.name === 'anew-0005' && first.attempts >= 1
    })
    await relay?.stop()
    start()
    await allPublished()
    expect(firstCopies()).toEqual(numbered('anew-', 7))
  })

  it('stops only the shard that the broker does not take', async () => {
    let away = true
    const [stuck, flows] = ['100', '1']
    expect(shardOf(stuck)).not.toBe(shardOf(flows))
    start(async (events) => {
      if (away && events[0]?.partitionKey === stuck) throw brokerAway()
    })
    await write(numbered('stuck-', 3), stuck)
    await write(numbered('flows-', 8), flows)
    await until('the other key flows', () => sent.length === 8)
    expect(sent).toEqual(numbered('flows-', 8))
    away = false
    await allPublished()
    expect(sent.slice(8)).toEqual(numbered('stuck-', 3))
  })

  it('sends a page again whose answer was lost: twice is allowed, never is not', async () => {
    let lost = false
    const names = numbered('answer-', 8)
    await write(names)
    start(async (events) => {
      if (lost) return
      lost = true
      sent.push(...events.map(({ payload }) => (JSON.parse(payload) as { name: string }).name))
      throw brokerAway()
    })
    await allPublished()
    expect(sent).toEqual([...names.slice(0, 5), ...names])
  })

  it('halves a page that is too large together, and sends all of it in order', async () => {
    const names = numbered('halved-', 12)
    await write(names)
    start(async (events) => {
      if (events.length > 1 && events.some(({ payload }) => payload.includes('0003'))) {
        throw new Failure('EVENT_REFUSED', 'Kafka refuses the record (MESSAGE_TOO_LARGE).')
      }
    })
    await allPublished()
    expect(sent).toEqual(names)
    expect(bugs).toEqual([])
  })

  it('stops without waiting for the broker to come back, and keeps the events', async () => {
    await write(numbered('wait-', 3))
    start(async () => {
      throw brokerAway()
    })
    await until('an attempt', async () => ((await statuses())[0]?.attempts ?? 0) > 0)
    const began = performance.now()
    await relay?.stop()
    expect(performance.now() - began).toBeLessThan(2_000)
    expect(await statuses()).toHaveLength(3)
    start()
    await allPublished()
    expect(sent).toEqual(numbered('wait-', 3))
  })
})

describe('while the database is away', () => {
  /** The same database, but `breaks` decides for each statement how it fails. */
  function breaking(breaks: (statement: Sql) => 'before' | 'after' | 'busy' | 'no'): Database {
    return {
      ...test.db,
      query: async <T>(statement: Sql) => {
        const how = breaks(statement)
        if (how === 'busy') throw databaseBusy()
        if (how === 'before') throw databaseAway()
        const rows = await test.db.query<T>(statement)
        if (how === 'after') throw databaseAway()
        return rows
      },
    }
  }
  const steps = (statement: Sql): boolean => statement.sql.includes('trimmed')

  it('waits, and publishes everything in order when it is back', async () => {
    let away = false
    const names = numbered('database-', 20)
    start(
      taken,
      breaking(() => (away ? 'before' : 'no')),
    )
    await until('it holds all', () => relay?.shards().length === 12)
    away = true
    await write(names)
    await pause(200)
    expect(sent).toEqual([])
    away = false
    await allPublished()
    expect(firstCopies()).toEqual(names)
    expect(bugs).toEqual([])
  })

  it('publishes a page again that could not be settled', async () => {
    let left = 1
    const names = numbered('unsettled-', 12)
    await write(names)
    start(
      taken,
      breaking((statement) => (steps(statement) && (left -= 1) >= 0 ? 'before' : 'no')),
    )
    await allPublished()
    expect(sent).toEqual([...names.slice(0, 5), ...names])
    expect(bugs).toEqual([])
  })

  it('backs off where it can publish but not settle, as when the disk is full', async () => {
    let full = true
    const names = numbered('full-', 3)
    await write(names)
    const backoff = { backoffBaseMs: 200, backoffCapMs: 400 }
    start(
      taken,
      breaking((statement) => (full && steps(statement) ? 'before' : 'no')),
      backoff,
    )
    await until('it was published', () => sent.length > 0)
    await pause(1_000)
    expect(sent.length / names.length).toBeLessThan(15)
    full = false
    await allPublished()
    expect(firstCopies()).toEqual(names)
  })

  it('lets no shard wait for one whose backlog takes longer to count than a statement may', async () => {
    let counting = true
    const [giant, flows] = ['100', '1']
    const opens = ({ sql: text, values: [shards] }: Sql): number[] =>
      text.includes('with newest') ? (shards as number[]) : []
    await write(numbered('giant-', 3), giant)
    await write(numbered('flows-', 8), flows)
    start(
      taken,
      breaking((statement) => (counting && opens(statement).includes(shardOf(giant)) ? 'busy' : 'no')),
    )
    await until('the other key flows', () => sent.length === 8)
    expect(sent).toEqual(numbered('flows-', 8))
    counting = false
    await allPublished()
    expect(sent.slice(8)).toEqual(numbered('giant-', 3))
    expect(bugs).toEqual([])
  })

  it('reads the cursor again when the answer to a settle was lost, and repeats nothing that was settled', async () => {
    let left = 1
    const names = numbered('settled-', 12)
    await write(names)
    start(
      taken,
      breaking((statement) => (steps(statement) && (left -= 1) >= 0 ? 'after' : 'no')),
    )
    await allPublished()
    expect(sent).toEqual(names)
    expect(bugs).toEqual([])
  })
})

describe('a bug', () => {
  it('goes to fail, settles nothing and is not taken for an outage', async () => {
    const bug = new TypeError('cannot read properties of undefined')
    start(async () => {
      throw bug
    })
    await write(['bug-0000'])
    await until('fail is told', () => bugs.length > 0)
    expect(bugs[0]).toBe(bug)
    expect((await statuses()).at(-1)).toMatchObject({ name: 'bug-0000', status: 'PENDING' })
  })
})
