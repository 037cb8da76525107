import { randomUUID } from 'node:crypto'
import { Failure, type Telemetry, buildLogger, buildTelemetry, parseBrokers, pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import type { Admin, Message, Producer } from 'kafkajs'
import { type KafkaOptions, buildKafka } from './client.ts'
import { quickenKafkajs } from './quicken.ts'
import { type IncomingBatch, type Subscriber, type SubscriberOptions, subscribe } from './subscriber.ts'
import { type Link, openLink } from './testing.ts'
import { ensureTopics, removeTopics } from './topics.ts'

quickenKafkajs()

const options: KafkaOptions = {
  brokers: parseBrokers(process.env['KAFKA_BROKERS'] ?? ''),
  clientId: 'test',
  requestTimeoutMs: 10_000,
  log: buildLogger({ service: 'test', level: 'silent' }),
}
const partitions = 4
const [fetch, joinGroup] = [1, 11]
const made: string[] = []
let admin: Admin
let producer: Producer
let link: Link
let topic: string
let groupId: string
let telemetry: Telemetry
let members: Subscriber[]
let failures: unknown[]

beforeAll(async () => {
  admin = buildKafka(options).admin({ retry: { retries: 8 } })
  producer = buildKafka(options).producer({ retry: { retries: 8 } })
  link = await openLink(options.brokers[0]!)
  await Promise.all([admin.connect(), producer.connect()])
  await admin.describeCluster() // this client looks for no group before it has seen a broker
})
afterAll(async () => {
  await removeTopics(options, made)
  await Promise.all([admin.disconnect(), producer.disconnect(), link.close()])
})
beforeEach(async () => {
  topic = `test-${randomUUID()}`
  groupId = `test-${randomUUID()}`
  made.push(topic)
  members = []
  failures = []
  telemetry = buildTelemetry('test')
  await ensureTopics(options, [{ topic, partitions, replicationFactor: 1, retentionMs: 3_600_000 }])
})
afterEach(() => {
  link.swallow()
  return Promise.all(members.map((member) => member.stop()))
})

function join(onBatch: SubscriberOptions['onBatch'], change: Partial<SubscriberOptions> = {}): Subscriber {
  const fail = (error: unknown) => failures.push(error)
  const fixed = { ...options, groupId, topic, partitionsAtOnceMax: 2, watchdogMs: 2_000 }
  const own = members.length === 0 ? telemetry : buildTelemetry('test')
  const member = subscribe({ ...fixed, onBatch, fail, telemetry: own, ...change })
  members.push(member)
  return member
}

const send = (messages: Message[]) => producer.send({ topic, messages, acks: -1 })
const numbered = (from: number, count: number, partition?: number): Message[] =>
  Array.from({ length: count }, (_, i) => ({
    value: String(from + i),
    key: String(from + i),
    ...(partition !== undefined && { partition }),
  }))
const valuesOf = ({ records }: IncomingBatch): number[] => records.map(({ value }) => Number(value))
const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

async function committed(): Promise<Map<number, number>> {
  const [offsets] = await admin.fetchOffsets({ groupId, topics: [topic] })
  return new Map(offsets?.partitions.map(({ partition, offset }) => [partition, Math.max(0, Number(offset))]))
}

async function until(what: string, holds: () => unknown, limitMs = 40_000): Promise<void> {
  for (const end = performance.now() + limitMs; !(await holds()); await pause(20)) {
    if (performance.now() > end) throw new Error(`Not within ${String(limitMs)} ms: ${what}`)
  }
}

async function told(name: string): Promise<number | undefined> {
  const line = (await telemetry.text()).split('\n').find((text) => text.startsWith(`${name} `))
  return line === undefined ? undefined : Number(line.slice(name.length))
}

function collector() {
  const got: number[] = []
  return { got, onBatch: async (batch: IncomingBatch) => void got.push(...valuesOf(batch)) }
}

const unique = (values: readonly number[]): number[] => [...new Set(values)].sort((a, b) => a - b)

describe('a client that is wedged', () => {
  it('is replaced when it never joins its group; nothing is lost, and the process goes on', async () => {
    await send(numbered(0, 20))
    link.swallow(joinGroup)
    const { got, onBatch } = collector()
    const member = join(onBatch, { brokers: [link.address] })
    await until('a client was replaced', async () =>
      told('likewise_inbox_client_restarts_total{reason="watchdog"}'),
    )
    expect(member.fault()).toContain('was replaced (1 of 3 times)')
    link.swallow()
    await until('the rest is as if nothing had been', () => got.length >= 20 && member.fault() === null)
    expect(unique(got)).toEqual(numbers(20))
    expect(failures).toEqual([])
  })

  it('makes the member unready first, is replaced a few times, and then ends the process', async () => {
    link.swallow(joinGroup)
    const faults = new Set<string>()
    const member = join(async () => {}, { brokers: [link.address], watchdogMs: 1_000 })
    await until('fail is told', () => {
      if (failures.length === 0) faults.add(member.fault() ?? 'none')
      return failures.length > 0
    })
    link.swallow()
    expect(failures[0]).toBeInstanceOf(Failure)
    expect((failures[0] as Failure).code).toBe('CONSUMER_STUCK')
    expect([...faults].join('\n')).toContain('has got nowhere for')
    expect(await told('likewise_inbox_client_restarts_total{reason="watchdog"}')).toBe(3)
    await member.stop()
    expect(failures).toHaveLength(1)
  })

  it('is not what a batch is taken for that lasts longer than the watchdog has patience, and says that it gets on', async () => {
    await send(numbered(0, 10, 1))
    let tries = 0
    const work = async ({ gotOn }: IncomingBatch) => {
      tries += 1
      for (let part = 0; part < 18; part += 1) {
        await pause(500)
        gotOn()
      }
      return undefined
    }
    const member = join(work, { watchdogMs: 5_000 })
    await until('it was handled and committed', async () => (await committed()).get(1) === 10)
    expect(tries).toBe(1)
    expect(await told('likewise_inbox_client_restarts_total{reason="watchdog"}')).toBeUndefined()
    expect([member.fault(), failures]).toEqual([null, []])
  })

  it('is left behind with a batch that never ends: the batch comes again', async () => {
    await send(numbered(0, 10, 1))
    const got: number[] = []
    let tries = 0
    const member = join(async (batch) => {
      tries += 1
      if (tries === 1) await new Promise(() => {})
      got.push(...valuesOf(batch))
    })
    await until('all of it was handled and committed', async () => (await committed()).get(1) === 10)
    expect(got).toEqual(numbers(10))
    await until('the member can be counted on', () => member.fault() === null)
    expect(failures).toEqual([])
  })
})

describe('an outage is no wedge', () => {
  it('waits for PostgreSQL for longer than the watchdog has patience, with the same client', async () => {
    await send(numbered(0, 10, 1))
    let isAway = true
    const { got, onBatch } = collector()
    const faults = new Set<string | null>()
    const member = join(
      async (batch) => {
        if (isAway) throw new Failure('DATABASE_UNAVAILABLE', 'PostgreSQL is not available: cut.')
        await onBatch(batch)
      },
      { watchdogMs: 5_000 },
    )
    const end = performance.now() + 9_000
    await until('it joined', () => member.joined())
    await until('the outage lasted', () => {
      faults.add(member.fault())
      return performance.now() > end
    })
    expect([...faults]).toEqual([null])
    isAway = false
    await until('all of it was handled', () => got.length >= 10)
    expect(got).toEqual(numbers(10))
    expect(await told('likewise_inbox_client_restarts_total{reason="watchdog"}')).toBeUndefined()
    expect(failures).toEqual([])
  })

  it('waits for Kafka for longer than the watchdog has patience', async () => {
    const { got, onBatch } = collector()
    const member = join(onBatch, { brokers: [link.address], watchdogMs: 4_000, requestTimeoutMs: 1_000 })
    await until('it joined', () => member.joined())
    await link.close()
    await send(numbered(0, 10))
    const end = performance.now() + 7_000
    await until('the outage lasted', () => performance.now() > end)
    expect(member.fault()).not.toBeNull()
    await link.open()
    await until('all of it was handled', () => got.length >= 10 && member.fault() === null)
    expect(unique(got)).toEqual(numbers(10))
    expect(await told('likewise_inbox_client_restarts_total{reason="watchdog"}')).toBeUndefined()
    expect(failures).toEqual([])
  })
})

describe('the membership', () => {
  it('is held by members without partitions too: they are healthy and stand by', async () => {
    const all = Array.from({ length: partitions + 2 }, () => join(async () => {}, { watchdogMs: 4_000 }))
    const isSpread = () =>
      all.every((member) => member.joined() && member.fault() === null) &&
      all.filter((member) => member.partitions().length === 1).length === partitions &&
      all.filter((member) => member.partitions().length === 0).length === 2
    await until('each partition has a member, two have none', isSpread)
    const end = performance.now() + 5_000
    while (performance.now() < end) {
      await pause(100)
      expect(all.map((member) => member.fault())).toEqual(all.map(() => null))
    }
    expect(failures).toEqual([])
  })

  it('is kept through a batch that takes longer than the session', async () => {
    await send(numbered(0, 5, 0))
    let tries = 0
    const member = join(
      async () => {
        tries += 1
        await pause(12_000)
      },
      { watchdogMs: 60_000 },
    )
    await until('the batch is committed', async () => (await committed()).get(0) === 5)
    expect(tries).toBe(1)
    expect(member.joined()).toBe(true)
    expect(await told('likewise_inbox_rebalances_total')).toBe(1)
  })

  it('is taken again by a process that stood still for longer than its session', async () => {
    const { got, onBatch } = collector()
    const member = join(onBatch, { watchdogMs: 10_000 })
    await send(numbered(0, 10))
    await until('the first were handled', () => got.length >= 10)
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 14_000)
    await send(numbered(10, 10))
    await until(
      'all were handled, and the member is itself',
      () => got.length >= 20 && member.fault() === null,
    )
    await until('they are committed', async () => sum(await committed()) === 20)
    expect(unique(got)).toEqual(numbers(20))
    expect(await told('likewise_inbox_client_restarts_total{reason="watchdog"}')).toBeUndefined()
    expect(failures).toEqual([])
  })

  it('moves without a commit of anything that was not handled', async () => {
    const handled = new Map<number, number>()
    const got: number[] = []
    const onBatch = async (batch: IncomingBatch) => {
      await pause(30)
      got.push(...valuesOf(batch))
      const next = Number(batch.records.at(-1)?.offset) + 1
      handled.set(batch.partition, Math.max(next, handled.get(batch.partition) ?? 0))
      return undefined
    }
    join(onBatch, { watchdogMs: 60_000 })
    for (let round = 0; round < 4; round += 1) {
      await send(numbered(round * 100, 100))
      const other = join(onBatch, { watchdogMs: 60_000 })
      await until('it joined', () => other.joined())
      for (const [partition, offset] of await committed()) {
        expect(offset).toBeLessThanOrEqual(handled.get(partition) ?? 0)
      }
      await other.stop()
    }
    await until('all is committed', async () => sum(await committed()) === 400)
    expect(unique(got)).toEqual(numbers(400))
  })
})

const sum = (offsets: Map<number, number>): number => [...offsets.values()].reduce((a, b) => a + b, 0)

describe('the telemetry of a member', () => {
  it('tells the records that wait in each of its partitions, also where nothing is read', async () => {
    await send([...numbered(0, 7, 2), ...numbered(0, 3, 3)])
    let isAway = true
    join(
      async () => {
        if (isAway) throw new Failure('DATABASE_UNAVAILABLE', 'PostgreSQL is not available: cut.')
      },
      { watchdogMs: 10_000 },
    )
    const lag = (partition: number) => told(`likewise_inbox_lag_records{partition="${String(partition)}"}`)
    await until('the lag is told', async () => (await lag(2)) === 7 && (await lag(3)) === 3)
    expect([await lag(0), await lag(1)]).toEqual([0, 0])
    expect(await told('likewise_inbox_joined')).toBe(1)
    await until(
      'their age is told',
      async () => ((await told('likewise_inbox_oldest_waiting_age_seconds')) ?? 0) > 0,
    )
    isAway = false
    await until('nothing waits', async () => (await lag(2)) === 0 && (await lag(3)) === 0)
    await until('and has no age', async () => (await told('likewise_inbox_oldest_waiting_age_seconds')) === 0)
  })
})

describe('a client that fetches ahead', () => {
  /** Handles 0, 1 and 2 one by one, and holds 3, behind which 4 waits, until that has come. @returns what was handled. */
  async function withTheNextAtHand(outcome: (batch: IncomingBatch) => bigint | undefined) {
    const got: number[] = []
    const held = new Map<number, () => void>()
    const onBatch = async (batch: IncomingBatch) => {
      const [first = NaN] = valuesOf(batch)
      const isHeld = [2, 3].includes(first) && !held.has(first)
      if (isHeld) await new Promise<void>((resolve) => held.set(first, resolve))
      got.push(...valuesOf(batch))
      return isHeld && first === 3 ? outcome(batch) : undefined
    }
    join(onBatch, { brokers: [link.address], watchdogMs: 60_000 })
    for (const i of numbers(2)) {
      await send(numbered(i, 1, 0))
      await until(`${String(i)} was handled`, () => got.length > i)
    }
    await send(numbered(2, 1, 0))
    await until('2 is in hand', () => held.has(2))
    // One fetch brings one of them: 512 KiB of a partition.
    const size = 400_000
    for (const value of ['3', '4']) await send([{ value, key: 'k'.repeat(size), partition: 0 }])
    const before = link.answered()
    held.get(2)?.()
    await until('3 is in hand', () => held.has(3))
    await until('4 has come', () => link.answered() - before > 2 * size)
    return { got, release: () => held.get(3)?.() }
  }

  it('has the next records at hand when a batch is handled', async () => {
    const { got, release } = await withTheNextAtHand(() => undefined)
    link.swallow(fetch)
    release()
    await until('4 was handled', () => got.length === 5)
    expect(got).toEqual(numbers(5))
  })

  it('throws them away when the batch before is given back', async () => {
    const { got, release } = await withTheNextAtHand(() => 1n)
    release()
    await until('all came again', () => got.length >= 8)
    expect(got).toEqual([0, 1, 2, 3, 1, 2, 3, 4])
    await until('all is committed', async () => (await committed()).get(0) === 5)
  })
})
