import { randomBytes, randomUUID } from 'node:crypto'
import { parseBrokers, buildLogger, pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { Partitioners } from 'kafkajs'
import { type KafkaOptions, buildKafka } from './client.ts'
import type { OutgoingRecord, Position } from './connection.ts'
import { quickenKafkajs } from './quicken.ts'
import { type KafkaClient, type Publisher, buildPublisher } from './publisher.ts'
import { type IncomingRecord, subscribe } from './subscriber.ts'
import { type Link, openLink } from './testing.ts'
import { ensureTopics, readTopicEnds, removeTopics } from './topics.ts'

// As the relay has it. What kafkajs sends by itself is what dead letters are copied with.
quickenKafkajs()
const brokers = parseBrokers(process.env['KAFKA_BROKERS'] ?? '')
const options: KafkaOptions = {
  brokers,
  clientId: 'test',
  requestTimeoutMs: 5_000,
  log: buildLogger({ service: 'test', level: 'silent' }),
}
const clients: readonly KafkaClient[] = ['kafkajs', 'platformatic']
const [topic, other, compacted] = [`test-${randomUUID()}`, `test-${randomUUID()}`, `test-${randomUUID()}`]
const partitions = 12
const opened: Publisher[] = []
const links: Link[] = []
const plan = { replicationFactor: 1, retentionMs: 3_600_000 }

beforeAll(async () => {
  await ensureTopics(options, [
    { ...plan, topic, partitions },
    { ...plan, topic: other, partitions: 1 },
  ])
  const admin = buildKafka(options).admin()
  const configEntries = [{ name: 'cleanup.policy', value: 'compact' }]
  await admin.createTopics({
    waitForLeaders: false,
    topics: [{ topic: compacted, numPartitions: 1, configEntries }],
  })
  await admin.disconnect()
  const everywhere = Array.from({ length: 100 }, (_, i) => record({ key: String(i) }))
  const elsewhere = [other, compacted].map((one) => record({ topic: one }))
  for (const client of clients) await untilTaken(client, [...everywhere, ...elsewhere])
})
afterEach(async () => {
  await Promise.all(opened.splice(0).map((publisher) => publisher.stop()))
  await Promise.all(links.splice(0).map((one) => one.close()))
})
afterAll(() => removeTopics(options, [topic, other, compacted]))

function open(client: KafkaClient, at: readonly string[] = brokers, sendLimitMs = 5_000): Publisher {
  const limits = { requestTimeoutMs: sendLimitMs, sendLimitMs }
  const publisher = buildPublisher({ ...options, ...limits, client, brokers: at })
  opened.push(publisher)
  return publisher
}

async function link(): Promise<Link> {
  const made = await openLink(brokers[0]!)
  links.push(made)
  return made
}

const record = (change: Partial<OutgoingRecord> = {}): OutgoingRecord => ({
  topic,
  key: '100',
  value: '{}',
  headers: {},
  ...change,
})

async function eventually<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  for (const end = performance.now() + 10_000; ; await pause(50)) {
    const found = await look()
    if (found !== undefined) return found
    if (performance.now() > end) throw new Error(`Not within 10 s: ${what}`)
  }
}

/** A topic that was just made may have no leader for a moment; nothing is stored by a send that is refused for it. */
async function untilTaken(client: KafkaClient, records: OutgoingRecord[]): Promise<readonly Position[]> {
  const publisher = open(client)
  return eventually('the topics take records', () => publisher.publish(records).catch(() => undefined))
}

const countRecords = async () =>
  (await readTopicEnds(options, topic)).reduce((sum, { end }) => sum + Number(end), 0)

/** How long a promise took to be an outage. */
async function outageMs(work: Promise<unknown>): Promise<number> {
  const begun = performance.now()
  await expect(work).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE', retryable: true })
  return performance.now() - begun
}

type Arrived = IncomingRecord & { partition: number }

/** Everything that is on the topic now. */
async function readAll(of = topic): Promise<Arrived[]> {
  const ends = await readTopicEnds(options, of)
  const count = ends.reduce((sum, { start, end }) => sum + Number(end - start), 0)
  const arrived: Arrived[] = []
  const member = subscribe({
    ...options,
    groupId: `test-${randomUUID()}`,
    topic: of,
    partitionsAtOnceMax: 1,
    fail: () => {},
    onBatch: async ({ partition, records }) => {
      for (const { offset, timeMs, key, value, headers } of records)
        arrived.push({ offset, timeMs, key, value, headers, partition })
    },
  })
  for (const end = performance.now() + 20_000; arrived.length < count && performance.now() < end;)
    await pause(20)
  await member.stop()
  return arrived
}

// What stays open keeps the process alive; there is no public list of it that tells a socket's peer.
interface Handles {
  _getActiveHandles(): { remoteAddress?: string; remotePort?: number }[]
}
const socketsTo = (address: string): number =>
  (process as unknown as Handles)
    ._getActiveHandles()
    .filter(({ remoteAddress, remotePort }) => `${String(remoteAddress)}:${String(remotePort)}` === address)
    .length

const texts = (headers: IncomingRecord['headers']) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))

describe.each(clients)('what is published by %s', (client) => {
  it('arrives with its key, its headers and the bytes of its value', async () => {
    const values = ['{ "a":1.0 }\n', '좋아요 😀', Buffer.from([0, 255, 254, 10]), '']
    const headers = { ce_id: randomUUID(), 'content-type': 'application/json', 'x-é': 'ü', empty: '' }
    const key = `바이트-${randomUUID()}`
    await open(client).publish(values.map((value) => record({ key, value, headers })))
    const arrived = (await readAll()).filter((one) => one.key === key)
    expect(arrived.map((one) => one.value)).toEqual(values.map((value) => Buffer.from(value)))
    for (const one of arrived) expect(texts(one.headers)).toEqual(headers)
  })

  it('arrives with headers that are bytes, or that are there several times', async () => {
    const bytes = Buffer.from([0, 255, 10])
    const [key, headers] = [
      randomUUID(),
      { raw: bytes, two: ['1', bytes], ['__proto__']: 'p', toString: 't' },
    ]
    await open(client).publish([record({ key, headers })])
    const arrived = (await readAll()).find((one) => one.key === key)
    const wanted = { raw: bytes, two: [Buffer.from('1'), bytes], toString: Buffer.from('t') }
    expect({ ...arrived?.headers }).toEqual({ ...wanted, ['__proto__']: Buffer.from('p') })
  })

  it('carries the time at which it was sent', async () => {
    const [key, before] = [randomUUID(), Date.now()]
    await open(client).publish([record({ key })])
    const arrived = (await readAll()).find((one) => one.key === key)
    expect(arrived?.timeMs).toBeGreaterThanOrEqual(before)
    expect(arrived?.timeMs).toBeLessThanOrEqual(Date.now())
  })

  it('lies in the order of its key, within a send and from send to send', async () => {
    const keys = Array.from({ length: 7 }, () => randomUUID())
    const publisher = open(client)
    let sent = 0
    for (let send = 0; send < 20; send += 1) {
      await publisher.publish(
        Array.from({ length: 50 }, () => record({ key: keys[sent % 7]!, value: String(sent++) })),
      )
    }
    const arrived = await readAll()
    for (const [i, key] of keys.entries()) {
      const values = arrived.filter((one) => one.key === key).map((one) => Number(String(one.value)))
      expect(values).toEqual(Array.from({ length: values.length }, (_, turn) => turn * 7 + i))
      expect(values.length).toBeGreaterThanOrEqual(142)
    }
  })

  it('lies in the partition where Java’s producer would put its key', async () => {
    // Hashes from Kafka's own UtilsTest.testMurmur2; the last is not ASCII.
    const hashes = {
      '21': -973932308,
      foobar: -790332482,
      abc: 479470107,
      'a-little-bit-long-string': -985981536,
      좋아요: 446945556,
    }
    await open(client).publish(Object.keys(hashes).map((key) => record({ key })))
    const arrived = await readAll()
    for (const [key, hash] of Object.entries(hashes)) {
      const at = arrived.filter((one) => one.key === key).map(({ partition }) => partition)
      expect({ key, at: [...new Set(at)] }).toEqual({ key, at: [(hash & 0x7fffffff) % partitions] })
    }
  })

  it('lies in the partition of kafkajs for any key, of any script and length', async () => {
    const some = fc.oneof(fc.string(), fc.string({ unit: 'binary', maxLength: 60 }), fc.nat().map(String))
    const keys = [...new Set(['', ...fc.sample(some, 2_000)].map((key) => Buffer.from(key).toString()))]
    const mark = randomUUID()
    await open(client).publish(keys.map((key) => record({ key, headers: { mark } })))
    const arrived = (await readAll()).filter((one) => texts(one.headers)['mark'] === mark)
    const partitioner = Partitioners.DefaultPartitioner()
    const partitionMetadata = Array.from({ length: partitions }, (_, partitionId) => ({
      partitionErrorCode: 0,
      partitionId,
      leader: 1,
      replicas: [1],
      isr: [1],
    }))
    const at = (key: string) => partitioner({ topic, partitionMetadata, message: { key, value: null } })
    const found = new Map(arrived.map((one) => [one.key, one.partition]))
    expect(keys.map((key) => [key, found.get(key)])).toEqual(keys.map((key) => [key, at(key)]))
  })

  it('goes to several topics in one call, also without key and value', async () => {
    const [before] = await readTopicEnds(options, other)
    const key = `null-${randomUUID()}`
    await open(client).publish([record({ topic: other, key: null }), record({ key, value: null })])
    expect((await readTopicEnds(options, other))[0]?.end).toBe(before!.end + 1n)
    expect((await readAll()).filter((one) => one.key === key).map((one) => one.value)).toEqual([null])
  })

  it('is spread over the partitions when it has no key', async () => {
    const value = randomUUID()
    await open(client).publish(Array.from({ length: 24 }, () => record({ key: null, value })))
    const arrived = (await readAll()).filter((one) => String(one.value) === value)
    const counts = arrived.map(({ partition }) => partition).sort((a, b) => a - b)
    expect(counts).toEqual(Array.from({ length: 24 }, (_, i) => i >> 1))
  })

  it('is readable at the positions that were acknowledged, one for each partition', async () => {
    const publisher = open(client)
    const value = randomUUID()
    const records = Array.from({ length: 40 }, (_, i) => record({ key: `k${String(i % 20)}`, value }))
    const positions = await publisher.publish([...records, record({ topic: other })])
    const ends = await readTopicEnds(options, topic)
    const arrived = (await readAll()).filter((one) => String(one.value) === value)
    const expected = ends.flatMap(({ partition }) => {
      const first = arrived.find((one) => one.partition === partition)
      return first === undefined ? [] : [{ topic, partition, baseOffset: first.offset }]
    })
    const ofTopic = positions.filter((one) => one.topic === topic)
    expect([...ofTopic].sort((a, b) => a.partition - b.partition)).toEqual(expected)
    const [end] = await readTopicEnds(options, other)
    expect(positions.filter((one) => one.topic === other)).toEqual([
      { topic: other, partition: 0, baseOffset: end!.end - 1n },
    ])
  })

  it('begins anew at position 0 in a topic that was deleted and made again', async () => {
    const again = { ...plan, topic: `test-${randomUUID()}`, partitions: 1 }
    await ensureTopics(options, [again])
    const records = [record({ topic: again.topic }), record({ topic: again.topic })]
    const at = (baseOffset: bigint) => [{ topic: again.topic, partition: 0, baseOffset }]
    expect(await untilTaken(client, records)).toEqual(at(0n))
    const publisher = open(client)
    expect(await publisher.publish(records)).toEqual(at(2n))
    await removeTopics(options, [again.topic])
    await eventually('the topic is away', async () =>
      (await publisher.publish(records).catch(() => 'away')) === 'away' ? true : undefined,
    )
    await ensureTopics(options, [again])
    const found = await eventually('it takes records', () =>
      publisher.publish(records).catch(() => undefined),
    )
    expect(found).toEqual(at(0n))
    await removeTopics(options, [again.topic])
  })

  it('is nothing for an empty list', async () => {
    expect(await open(client).publish([])).toEqual([])
  })
})

describe.each(clients)('a record that cannot be published by %s', (client) => {
  const refused = { code: 'EVENT_REFUSED', retryable: false }

  it('is a refused event when it is larger than the broker’s message.max.bytes, and harms none beside it', async () => {
    const publisher = open(client)
    const large = record({ value: randomBytes(1_200_000) })
    const [first, beside] = await Promise.allSettled([
      publisher.publish([large]),
      publisher.publish([record({ topic: other })]),
    ])
    expect(first).toMatchObject({ status: 'rejected', reason: refused })
    expect(first).toMatchObject({ reason: { message: expect.stringContaining('MESSAGE_TOO_LARGE') } })
    expect(beside.status).toBe('fulfilled')
    await publisher.publish([record()])
  })

  it('is a refused event when a header is no text, as somebody’s SQL may have written it', async () => {
    const headers = { tenant: 42 } as unknown as Record<string, string>
    await expect(open(client).publish([record({ headers })])).rejects.toMatchObject({
      ...refused,
      message: 'A record is refused: its header tenant is not a text, but number.',
    })
  })

  it('is a refused event when it breaks a rule of its topic', async () => {
    const keyless = record({ topic: compacted, key: null })
    await expect(open(client).publish([keyless])).rejects.toMatchObject({
      ...refused,
      message: expect.stringContaining('INVALID_RECORD'),
    })
  })

  it('is a refused event when no broker could take so much, and is not even tried', async () => {
    const way = await link()
    await way.close()
    const publisher = open(client, [way.address])
    const half = Buffer.alloc(34_000_000)
    for (const records of [
      [record({ value: Buffer.alloc(67_108_865) })],
      [record({ headers: { filler: 'ü'.repeat(34_000_000) } })],
      [record({ value: half }), record({ value: half })],
    ]) {
      await expect(publisher.publish(records)).rejects.toMatchObject(refused)
    }
    await outageMs(publisher.publish([record()]))
  })

  it('is an outage when its topic is not there: it may be made again', async () => {
    const publisher = open(client)
    await outageMs(publisher.publish([record({ topic: `test-${randomUUID()}` })]))
    await publisher.publish([record()])
  })
})

describe.each(clients)('a broker that is away, for %s', (client) => {
  it('is told as an outage within the limit, and publishing works again when it is back', async () => {
    const way = await link()
    await way.close()
    const publisher = open(client, [way.address], 2_500)
    for (let attempt = 0; attempt < 3; attempt += 1)
      expect(await outageMs(publisher.publish([record()]))).toBeLessThan(3_000)
    await outageMs(publisher.ping())
    await way.open()
    const key = `back-${randomUUID()}`
    await publisher.publish([record({ key })])
    await publisher.ping()
    expect((await readAll()).filter((one) => one.key === key)).toHaveLength(1)
  })

  it('is told as an outage when it goes in the middle, and publishing works again when it is back', async () => {
    const way = await link()
    const publisher = open(client, [way.address], 2_500)
    for (let round = 0; round < 3; round += 1) {
      await publisher.publish([record()])
      await way.close()
      expect(await outageMs(publisher.publish([record()]))).toBeLessThan(3_000)
      await way.open()
    }
    const key = `back-${randomUUID()}`
    await publisher.publish([record({ key })])
    expect((await readAll()).filter((one) => one.key === key)).toHaveLength(1)
  })

  it('is told as an outage within the limit when it takes the connection and says nothing', async () => {
    const way = await link()
    way.hush()
    const publisher = open(client, [way.address], 700)
    expect(await outageMs(publisher.publish([record()]))).toBeLessThan(1_500)
    expect(await outageMs(publisher.ping())).toBeLessThan(1_500)
  })

  it('is told as an outage within the limit when it falls silent, and publishing works again after', async () => {
    const way = await link()
    const publisher = open(client, [way.address], 1_500)
    await publisher.publish([record()])
    way.hush()
    expect(await outageMs(publisher.publish([record()]))).toBeLessThan(2_300)
    way.speak()
    await publisher.publish([record()])
  })

  it('may take its part of concurrent sends with it, but not the sends that come after', async () => {
    const way = await link()
    await way.close()
    const publisher = open(client, [way.address], 2_500)
    await Promise.all([1, 2, 3, 4].map(() => outageMs(publisher.publish([record()]))))
    await way.open()
    await Promise.all([1, 2, 3, 4].map(() => publisher.publish([record()])))
  })
})

describe.each(clients)('sends by %s', (client) => {
  it('are on their way at once, however many wait for an answer: none goes when its sender no longer may (I10)', async () => {
    const way = await link()
    const publisher = open(client, [way.address], 30_000)
    await publisher.publish([record()])
    const before = await countRecords()
    way.hushBroker()
    const sends = Array.from({ length: 12 }, (_, i) => publisher.publish([record({ key: String(i) })]))
    await eventually('all are there', async () => ((await countRecords()) === before + 12 ? true : undefined))
    way.speak()
    await Promise.all(sends)
  })
})

describe.each(clients)('a publisher by %s that stops', (client) => {
  it('lets the send under way settle, and takes no other', async () => {
    const way = await link()
    const publisher = open(client, [way.address])
    const key = `last-${randomUUID()}`
    await publisher.publish([record()])
    way.hush()
    const sending = publisher.publish([record({ key })])
    await pause(100)
    const order: string[] = []
    const stopping = publisher.stop().then(() => order.push('stopped'))
    await outageMs(publisher.publish([record()]))
    await outageMs(publisher.ping())
    way.speak()
    await sending.then(() => order.push('sent'))
    await stopping
    expect(order).toEqual(['sent', 'stopped'])
    expect((await readAll()).filter((one) => one.key === key)).toHaveLength(1)
  })

  it('waits no longer than the limit for an answer that does not come', async () => {
    const way = await link()
    const publisher = open(client, [way.address], 1_500)
    await publisher.publish([record()])
    way.hush()
    const sending = outageMs(publisher.publish([record()]))
    const begun = performance.now()
    await publisher.stop()
    expect(performance.now() - begun).toBeLessThan(4_000)
    expect(await sending).toBeLessThan(2_500)
  })

  it('leaves no connection open, though the broker reads nothing of what was sent', async () => {
    const way = await link()
    const publisher = open(client, [way.address], 1_500)
    await publisher.publish([record()])
    await publisher.ping()
    await outageMs(publisher.publish([record({ topic: `test-${randomUUID()}` })]))
    await publisher.publish([record()])
    way.hush()
    // more than the buffers between here and there can take
    const much = Array.from({ length: 40 }, () => record({ value: randomBytes(900_000) }))
    await outageMs(publisher.publish(much))
    await outageMs(publisher.ping())
    await publisher.stop()
    await eventually('all are closed', async () => (socketsTo(way.address) === 0 ? true : undefined))
    await publisher.stop()
  })
})
