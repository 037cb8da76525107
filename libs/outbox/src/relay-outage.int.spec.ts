import { type Database, type Sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { shardOf } from '@likewise/events'
import { Failure, pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import {
  type TestRelays,
  allPublished,
  buildRelays,
  intercepting,
  numbered,
  parkedNames,
  unpublished,
  until,
  write,
} from './testing.ts'

const brokerAway = () => new Failure('BROKER_UNAVAILABLE', 'Kafka does not take records: nobody listens.')
const databaseBusy = () =>
  new Failure('DATABASE_BUSY', 'PostgreSQL cancels the statement: statement timeout.')
const databaseAway = () => new Failure('DATABASE_UNAVAILABLE', 'PostgreSQL is not available: cut.')

let test: TestDatabase
let relays: TestRelays

beforeEach(async () => {
  test = await freshDatabase('relay_outage')
  relays = buildRelays(test)
})
afterEach(async () => {
  await relays.stop()
  await test.drop()
})

describe('while the broker is away', () => {
  it('shows the growing attempts and the error, and loses nothing once it is back', async () => {
    let away = true
    const names = numbered('away-', 12)
    await write(test.db, names, '100')
    const relay = relays.start({
      publish: async () => {
        if (away) throw brokerAway()
      },
    })
    await until('5 attempts', async () => ((await unpublished(test.db))[0]?.attempts ?? 0) >= 5)
    const [first, ...others] = await unpublished(test.db)
    expect(first).toMatchObject({ name: names[0], status: 'FAILED', error: brokerAway().message })
    expect(others.map(({ status }) => status)).toEqual(Array.from({ length: 11 }, () => 'FAILED'))
    await until(
      'more attempts',
      async () => ((await unpublished(test.db))[0]?.attempts ?? 0) > (first?.attempts ?? 0),
    )
    expect(relays.names()).toEqual([])
    expect(
      await relay.counted('likewise_outbox_publish_failures_total{reason="BROKER_UNAVAILABLE"}'),
    ).toBeGreaterThan(5)

    away = false
    await allPublished(test.db)
    expect(relays.names()).toEqual(names)
    expect(relays.bugs).toEqual([])
  })

  it('counts attempts anew after a success', async () => {
    let left = 3
    await write(test.db, numbered('anew-', 7), '100')
    const relay = relays.start({
      publish: async (events) => {
        if (left > 0 || events.some(({ payload }) => payload.includes('0006'))) {
          left -= 1
          throw brokerAway()
        }
      },
    })
    await until('the second page fails', async () => {
      const [first] = await unpublished(test.db)
      return first?.name === 'anew-0005' && first.attempts >= 1
    })
    await relay.stop()
    relays.start()
    await allPublished(test.db)
    expect(relays.firstCopies()).toEqual(numbered('anew-', 7))
  })

  it('stops only the shard that the broker does not take', async () => {
    let away = true
    const [stuck, flows] = ['100', '1']
    expect(shardOf(stuck)).not.toBe(shardOf(flows))
    relays.start({
      publish: async (events) => {
        if (away && events[0]?.partitionKey === stuck) throw brokerAway()
      },
    })
    await write(test.db, numbered('stuck-', 3), stuck)
    await write(test.db, numbered('flows-', 8), flows)
    await until('the other key flows', () => relays.names().length === 8)
    expect(relays.names()).toEqual(numbered('flows-', 8))
    away = false
    await allPublished(test.db)
    expect(relays.names().slice(8)).toEqual(numbered('stuck-', 3))
  })

  it('sends a page again whose answer was lost: twice is allowed, never is not', async () => {
    let lost = false
    const names = numbered('answer-', 8)
    await write(test.db, names, '100')
    relays.start({
      publish: async (events) => {
        if (lost) return
        lost = true
        relays.note(events)
        throw brokerAway()
      },
    })
    await allPublished(test.db)
    expect(relays.names()).toEqual([...names.slice(0, 5), ...names])
  })

  it('halves a page that is too large together, and sends all of it in order', async () => {
    const names = numbered('halved-', 12)
    await write(test.db, names, '100')
    relays.start({
      publish: async (events) => {
        if (events.length > 1 && events.some(({ payload }) => payload.includes('0003'))) {
          throw new Failure('EVENT_REFUSED', 'Kafka refuses the record (MESSAGE_TOO_LARGE).')
        }
      },
    })
    await allPublished(test.db)
    expect(relays.names()).toEqual(names)
    expect(relays.bugs).toEqual([])
  })

  it('waits out an access that is withdrawn, parks nothing, and publishes all once it is given back (I6)', async () => {
    // as libs/kafka tells TOPIC_AUTHORIZATION_FAILED: see its failure.spec.ts
    const denied = () =>
      new Failure(
        'BROKER_UNAVAILABLE',
        'Kafka does not take or give records: Not authorized to access topics',
      )
    let mayWrite = false
    const names = numbered('denied-', 12)
    await write(test.db, names, '100')
    const relay = relays.start({
      publish: async () => {
        if (!mayWrite) throw denied()
      },
    })
    // more often than a refused event is tried
    await until('10 attempts', async () => ((await unpublished(test.db))[0]?.attempts ?? 0) >= 10)
    expect(await parkedNames(test.db)).toEqual([])
    expect(await relay.counted('likewise_outbox_parked_total')).toBe(0)
    expect((await unpublished(test.db))[0]).toMatchObject({ status: 'FAILED', error: denied().message })
    mayWrite = true
    await allPublished(test.db)
    expect(relays.names()).toEqual(names)
    expect(await parkedNames(test.db)).toEqual([])
    expect(relays.bugs).toEqual([])
  })

  it('stops without waiting for the broker to come back, and keeps the events', async () => {
    await write(test.db, numbered('wait-', 3), '100')
    const relay = relays.start({
      publish: async () => {
        throw brokerAway()
      },
    })
    await until('an attempt', async () => ((await unpublished(test.db))[0]?.attempts ?? 0) > 0)
    const began = performance.now()
    await relay.stop()
    expect(performance.now() - began).toBeLessThan(2_000)
    expect(await unpublished(test.db)).toHaveLength(3)
    relays.start()
    await allPublished(test.db)
    expect(relays.names()).toEqual(numbered('wait-', 3))
  })
})

describe('while the database is away', () => {
  /** The same database, but `breaks` decides for each statement how it fails. */
  const breaking = (breaks: (statement: Sql) => 'before' | 'after' | 'busy' | 'no'): Database =>
    intercepting(test.as('likewise_relay'), async (statement, run) => {
      const how = breaks(statement)
      if (how === 'busy') throw databaseBusy()
      if (how === 'before') throw databaseAway()
      const rows = await run()
      if (how === 'after') throw databaseAway()
      return rows
    })
  const steps = (statement: Sql): boolean => statement.sql.includes('trimmed')

  it('waits, and publishes everything in order when it is back', async () => {
    let away = false
    const names = numbered('database-', 20)
    const relay = relays.start({ db: breaking(() => (away ? 'before' : 'no')) })
    await until('it holds all', () => relay.shards().length === 12)
    away = true
    await write(test.db, names, '100')
    await pause(200)
    expect(relays.names()).toEqual([])
    away = false
    await allPublished(test.db)
    expect(relays.firstCopies()).toEqual(names)
    expect(relays.bugs).toEqual([])
  })

  it('publishes a page again that could not be settled', async () => {
    let left = 1
    const names = numbered('unsettled-', 12)
    await write(test.db, names, '100')
    relays.start({ db: breaking((statement) => (steps(statement) && (left -= 1) >= 0 ? 'before' : 'no')) })
    await allPublished(test.db)
    expect(relays.names()).toEqual([...names.slice(0, 5), ...names])
    expect(relays.bugs).toEqual([])
  })

  it('backs off where it can publish but not settle, as when the disk is full', async () => {
    let full = true
    const names = numbered('full-', 3)
    await write(test.db, names, '100')
    const backoff = { backoffBaseMs: 200, backoffCapMs: 400 }
    relays.start({
      db: breaking((statement) => (full && steps(statement) ? 'before' : 'no')),
      limits: backoff,
    })
    await until('it was published', () => relays.names().length > 0)
    await pause(1_000)
    expect(relays.names().length / names.length).toBeLessThan(15)
    full = false
    await allPublished(test.db)
    expect(relays.firstCopies()).toEqual(names)
  })

  it('lets no shard wait for one whose backlog takes longer to count than a statement may', async () => {
    let counting = true
    const [giant, flows] = ['100', '1']
    const opens = ({ sql: text, values: [shards] }: Sql): number[] =>
      text.includes('with newest') ? (shards as number[]) : []
    await write(test.db, numbered('giant-', 3), giant)
    await write(test.db, numbered('flows-', 8), flows)
    relays.start({
      db: breaking((statement) => (counting && opens(statement).includes(shardOf(giant)) ? 'busy' : 'no')),
    })
    await until('the other key flows', () => relays.names().length === 8)
    expect(relays.names()).toEqual(numbered('flows-', 8))
    counting = false
    await allPublished(test.db)
    expect(relays.names().slice(8)).toEqual(numbered('giant-', 3))
    expect(relays.bugs).toEqual([])
  })

  it('reads the cursor again when the answer to a settle was lost, and repeats nothing that was settled', async () => {
    let left = 1
    const names = numbered('settled-', 12)
    await write(test.db, names, '100')
    relays.start({ db: breaking((statement) => (steps(statement) && (left -= 1) >= 0 ? 'after' : 'no')) })
    await allPublished(test.db)
    expect(relays.names()).toEqual(names)
    expect(relays.bugs).toEqual([])
  })
})

describe('a bug', () => {
  it('goes to fail, settles nothing and is not taken for an outage', async () => {
    const bug = new TypeError('cannot read properties of undefined')
    relays.start({
      publish: async () => {
        throw bug
      },
    })
    await write(test.db, ['bug-0000'], '100')
    await until('fail is told', () => relays.bugs.length > 0)
    expect(relays.bugs[0]).toBe(bug)
    expect((await unpublished(test.db)).at(-1)).toMatchObject({ name: 'bug-0000', status: 'PENDING' })
  })
})
