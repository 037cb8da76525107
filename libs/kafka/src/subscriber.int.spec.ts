import { randomUUID } from 'node:crypto'
import { type Server, connect, createServer } from 'node:net'
import { Failure, buildLogger, parseBrokers, pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import type { Admin, Message, Producer } from 'kafkajs'
import { type KafkaOptions, buildKafka } from './client.ts'
import { quickenKafkajs } from './quicken.ts'
import { type IncomingBatch, type Subscriber, type SubscriberOptions, subscribe } from './subscriber.ts'
import { ensureTopics, removeTopics } from './topics.ts'

quickenKafkajs()

const options: KafkaOptions = {
  brokers: parseBrokers(process.env['KAFKA_BROKERS'] ?? ''),
  clientId: 'test',
  requestTimeoutMs: 10_000,
  log: buildLogger({ service: 'test', level: 'silent' }),
}
const partitions = 4
const made: string[] = []
const away = () => new Failure('DATABASE_UNAVAILABLE', 'PostgreSQL is not available: cut.')
let admin: Admin
let producer: Producer
let topic: string
let groupId: string
let members: Subscriber[]
let failures: unknown[]

beforeAll(async () => {
  admin = buildKafka(options).admin({ retry: { retries: 8 } })
  producer = buildKafka(options).producer({ retry: { retries: 8 } })
  await Promise.all([admin.connect(), producer.connect()])
  await admin.describeCluster() // this client looks for no group before it has seen a broker
})
afterAll(async () => {
  await removeTopics(options, made)
  await Promise.all([admin.disconnect(), producer.disconnect()])
})
beforeEach(async () => {
  topic = `test-${randomUUID()}`
  groupId = `test-${randomUUID()}`
  made.push(topic)
  members = []
  failures = []
  await ensureTopics(options, [{ topic, partitions, replicationFactor: 1, retentionMs: 3_600_000 }])
})
afterEach(() => Promise.all(members.map((member) => member.stop())))

function join(onBatch: SubscriberOptions['onBatch'], change: Partial<SubscriberOptions> = {}): Subscriber {
  const fail = (error: unknown) => failures.push(error)
  const member = subscribe({ ...options, groupId, topic, partitionsAtOnceMax: 2, onBatch, fail, ...change })
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

async function committed(): Promise<number> {
  const [offsets] = await admin.fetchOffsets({ groupId, topics: [topic] })
  return offsets?.partitions.reduce((sum, { offset }) => sum + Math.max(0, Number(offset)), 0) ?? 0
}

async function until(what: string, holds: () => boolean | Promise<boolean>, limitMs = 20_000): Promise<void> {
  for (const end = performance.now() + limitMs; !(await holds()); await pause(20)) {
    if (performance.now() > end) throw new Error(`Not within ${String(limitMs)} ms: ${what}`)
  }
}

/** Collects what arrives, as numbers. */
function collector() {
  const got: number[] = []
  const onBatch = async (batch: IncomingBatch) => void got.push(...valuesOf(batch))
  return { got, onBatch }
}

describe('a member of a group', () => {
  it('gets everything from the beginning, also what was there before the group', async () => {
    await send(numbered(0, 50))
    const { got, onBatch } = collector()
    const member = join(onBatch)
    await until('50 arrived', () => got.length >= 50)
    await send(numbered(50, 10))
    await until('60 arrived and are committed', async () => got.length >= 60 && (await committed()) === 60)
    expect(got.sort((a, b) => a - b)).toEqual(numbered(0, 60).map(({ value }) => Number(value)))
    expect(member.joined()).toBe(true)
    expect(member.partitions().sort()).toEqual([0, 1, 2, 3])
  })

  it('gets the records of a partition in order, one batch at a time', async () => {
    await send(numbered(0, 300, 1))
    const got: number[] = []
    let [now, most] = [0, 0]
    join(async (batch) => {
      most = Math.max(most, (now += 1))
      await pause(5)
      got.push(...valuesOf(batch))
      now -= 1
    })
    await until('300 arrived', () => got.length >= 300)
    expect(got).toEqual(numbered(0, 300).map(({ value }) => Number(value)))
    expect(most).toBe(1)
  })

  it('goes on where it committed after a stop', async () => {
    await send(numbered(0, 20))
    const first = collector()
    const member = join(first.onBatch)
    await until('20 arrived and are committed', async () => (await committed()) === 20)
    await member.stop()
    expect([member.joined(), member.partitions()]).toEqual([false, []])
    await send(numbered(20, 5))
    const second = collector()
    join(second.onBatch)
    await until('the rest arrived', () => second.got.length >= 5)
    expect(second.got.sort()).toEqual([20, 21, 22, 23, 24])
    expect(first.got).toHaveLength(20)
  })

  it('finishes and commits the batch in hand before it stops', async () => {
    await send(numbered(0, 7, 2))
    let begun = false
    let finish: () => void = () => {}
    const finished = new Promise<void>((resolve) => (finish = resolve))
    const member = join(async () => {
      begun = true
      await finished
    })
    await until('a batch is in hand', () => begun)
    let stopped = false
    const stop = member.stop().then(() => (stopped = true))
    await pause(100)
    expect(stopped).toBe(false)
    finish()
    await stop
    expect(await committed()).toBe(7)
  })

  it('has told the broker of all that it handled once it has stopped, however short before', async () => {
    const { got, onBatch } = collector()
    const member = join(onBatch)
    await until('it is a member', () => member.joined())
    for (let i = 1; i <= 5; i += 1) {
      await send(numbered(i * 10, 10, i % partitions))
      await until(`${String(i)}0 arrived`, () => got.length === i * 10)
    }
    await member.stop()
    expect(await committed()).toBe(50)
  })

  it('shares the partitions with another, and takes them over when the other leaves', async () => {
    const [one, two] = [collector(), collector()]
    const first = join(one.onBatch)
    await until('the first holds all', () => first.partitions().length === partitions)
    const second = join(two.onBatch)
    await until('both hold 2', () => first.partitions().length === 2 && second.partitions().length === 2)
    expect([...first.partitions(), ...second.partitions()].sort()).toEqual([0, 1, 2, 3])
    await send(Array.from({ length: partitions }, (_, i) => numbered(i * 10, 10, i)).flat())
    await until('all arrived', () => one.got.length + two.got.length >= 40)
    expect([one.got.length, two.got.length]).toEqual([20, 20])
    await second.stop()
    await until('the first holds all again', () => first.partitions().length === partitions)
    await send(numbered(100, 12))
    await until('the rest arrived', () => one.got.length >= 32)
    expect(new Set([...one.got, ...two.got]).size).toBe(52)
  })

  it('stops at once when it never joined', async () => {
    const member = join(async () => {}, { brokers: ['127.0.0.1:1'] })
    await pause(20)
    const began = performance.now()
    await member.stop()
    expect(performance.now() - began).toBeLessThan(3_000)
  })

  it('joins once the broker is there, however long it was not', async () => {
    const [host = '', port = ''] = options.brokers[0]!.split(':')
    const reserved = await listen(createServer())
    const at = (reserved.address() as { port: number }).port
    await new Promise((resolve) => reserved.close(resolve))
    const { got, onBatch } = collector()
    const member = join(onBatch, { brokers: [`127.0.0.1:${String(at)}`] })
    await send(numbered(0, 3))
    await pause(500)
    expect(member.joined()).toBe(false)
    const proxy = await listen(
      createServer((client) => {
        const upstream = connect(Number(port), host)
        client.on('error', () => upstream.destroy()).pipe(upstream)
        upstream.on('error', () => client.destroy()).pipe(client)
      }),
      at,
    )
    await until('all arrived', () => got.length >= 3)
    await member.stop()
    await new Promise((resolve) => proxy.close(resolve))
  })
})

const listen = (server: Server, port = 0): Promise<Server> =>
  new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve(server)))

describe('a partition', () => {
  it('tells its first batch since it was assigned, and where its log ends', async () => {
    await send(numbered(0, 10, 1))
    const got: [boolean, bigint, number][] = []
    const onBatch = async (batch: IncomingBatch) => {
      got.push([batch.isFirst, batch.logEnd, batch.records.length])
      return undefined
    }
    const member = join(onBatch)
    await until('the first is committed', async () => (await committed()) === 10)
    await send(numbered(10, 1, 1))
    await until('the second is committed', async () => (await committed()) === 11)
    await member.stop()
    await send(numbered(11, 1, 1))
    join(onBatch)
    await until('the third is committed', async () => (await committed()) === 12)
    expect(got).toEqual([
      [true, 10n, 10],
      [false, 11n, 1],
      [true, 12n, 1],
    ])
  })

  it('is read again from the offset that a batch is given back with, and the broker is told nothing of that batch', async () => {
    await send(numbered(0, 10, 1))
    const first = collector()
    const member = join(first.onBatch)
    await until('all is committed', async () => (await committed()) === 10)
    await member.stop()
    await send(numbered(10, 2, 1))
    const got: [boolean, number[]][] = []
    let before = 0
    join(async (batch) => {
      got.push([batch.isFirst, valuesOf(batch)])
      if (got.length === 1) return 9n
      before = await committed()
      return undefined
    })
    await until('all is committed', async () => (await committed()) === 12)
    expect(got).toEqual([
      [true, [10, 11]],
      [false, [9, 10, 11]],
    ])
    expect(before).toBe(10)
  })

  it('has a first batch again after nobody asked for records for long: once, also where that one is given back', async () => {
    const got: [boolean, number[]][] = []
    join(async (batch) => {
      got.push([batch.isFirst, valuesOf(batch)])
      await pause(2_500) // as where a database is away
      return got.length === 2 ? 0n : undefined
    })
    await send(numbered(0, 1, 1))
    await until('the first is committed', async () => (await committed()) === 1)
    await send(numbered(1, 1, 1))
    await until('the second is committed', async () => (await committed()) === 2)
    expect(got).toEqual([
      [true, [0]],
      [true, [1]],
      [false, [0, 1]],
    ])
  })

  it('is read from its beginning where it has no such offset', async () => {
    await send(numbered(0, 5, 1))
    const got: number[][] = []
    join(async (batch) => {
      got.push(valuesOf(batch))
      return got.length === 1 ? 99n : undefined
    })
    await until('all is committed', async () => (await committed()) === 5)
    expect(got).toEqual([
      [0, 1, 2, 3, 4],
      [0, 1, 2, 3, 4],
    ])
  })
})

describe('a batch that fails', () => {
  it('comes again, the same one, while it is an outage, and the member stays in the group', async () => {
    await send(numbered(0, 8, 3))
    const tries: number[][] = []
    const left: boolean[] = []
    const member = join(async (batch) => {
      tries.push(valuesOf(batch))
      left.push(!member.joined())
      if (tries.length <= 4) throw away()
    })
    await until('the fifth try is committed', async () => (await committed()) === 8)
    const first = tries[0]
    expect(tries.slice(0, 5)).toEqual([first, first, first, first, first])
    expect(left).not.toContain(true)
    expect(failures).toEqual([])
  })

  it('does not hold up a stop, is not committed, and comes to the next member', async () => {
    await send(numbered(0, 5, 0))
    let tries = 0
    const member = join(async () => {
      tries += 1
      throw away()
    })
    await until('it was tried', () => tries > 1)
    const began = performance.now()
    await member.stop()
    expect(performance.now() - began).toBeLessThan(5_000)
    expect(await committed()).toBe(0)
    const { got, onBatch } = collector()
    join(onBatch)
    await until('the next member has it', () => got.length >= 5)
    expect(got).toEqual([0, 1, 2, 3, 4])
  })

  it.each([
    ['a bug', new TypeError('cannot read properties of undefined')],
    ['a failure that does not pass', new Failure('DATABASE_NOT_MIGRATED', 'run npm run migrate')],
  ])('goes to fail when it is %s, and is not committed', async (_, error) => {
    await send(numbered(0, 5, 0))
    join(async () => {
      throw error
    })
    await until('fail is told', () => failures.length > 0)
    expect(failures[0]).toBe(error)
    await members[0]?.stop()
    expect(await committed()).toBe(0)
  })
})

describe('a record', () => {
  it('arrives as it is: no key, no value, bytes that are no text, headers of any shape', async () => {
    const bytes = Buffer.from([0, 255, 10])
    await send([
      { key: null, value: null, partition: 0 },
      {
        key: Buffer.from('a\u0000b'),
        value: bytes,
        partition: 0,
        headers: { raw: bytes, two: ['1', bytes] },
      },
      { key: '', value: '', partition: 0, headers: { empty: '' }, timestamp: '1700000000123' },
      {
        key: 'x',
        value: '3',
        partition: 0,
        headers: { constructor: 'c', toString: 't', ['__proto__']: 'p' },
      },
    ])
    const records: IncomingBatch['records'] = []
    join(async (batch) => void records.push(...batch.records))
    await until('all arrived', () => records.length >= 4)
    expect(records.map(({ offset, key, value }) => [offset, key, value])).toEqual([
      [0n, null, null],
      [1n, 'a\u0000b', bytes],
      [2n, '', Buffer.alloc(0)],
      [3n, 'x', Buffer.from('3')],
    ])
    expect(records[1]?.headers).toEqual({ raw: bytes, two: [Buffer.from('1'), bytes] })
    expect(records[2]?.headers).toEqual({ empty: Buffer.alloc(0) })
    // the broker's time, whatever the sender says (ensureTopics)
    expect(Math.abs((records[2]?.timeMs ?? 0) - Date.now())).toBeLessThan(600_000)
    expect(Object.entries(records[3]!.headers)).toEqual([
      ['constructor', Buffer.from('c')],
      ['toString', Buffer.from('t')],
      ['__proto__', Buffer.from('p')],
    ])
  })
})
