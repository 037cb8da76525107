import { randomBytes, randomUUID } from 'node:crypto'
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net'
import { buildLogger, parseBrokers, pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import type { KafkaOptions } from './client.ts'
import { type OutgoingRecord, type Publisher, buildPublisher } from './publisher.ts'
import { type IncomingRecord, subscribe } from './subscriber.ts'
import { ensureTopics, readTopicEnds, removeTopics } from './topics.ts'

const brokers = parseBrokers(process.env['KAFKA_BROKERS'] ?? '')
const options: KafkaOptions = {
  brokers,
  clientId: 'test',
  requestTimeoutMs: 5_000,
  log: buildLogger({ service: 'test', level: 'silent' }),
}
const [topic, other] = [`test-${randomUUID()}`, `test-${randomUUID()}`]
const partitions = 12
const opened: Publisher[] = []
const links: Link[] = []

beforeAll(async () => {
  const plan = { replicationFactor: 1, retentionMs: 3_600_000 }
  await ensureTopics(options, [
    { ...plan, topic, partitions },
    { ...plan, topic: other, partitions: 1 },
  ])
  // A topic that was just made may have no leader for a moment.
  const first = [
    ...Array.from({ length: 100 }, (_, i) => record({ key: String(i) })),
    record({ topic: other }),
  ]
  const publisher = open()
  for (const end = performance.now() + 10_000; ; await pause(50)) {
    const taken = await publisher.publish(first).then(
      () => true,
      () => false,
    )
    if (taken) return
    if (performance.now() > end) throw new Error('The topics take no records.')
  }
})
afterEach(async () => {
  await Promise.all(opened.splice(0).map((publisher) => publisher.stop()))
  await Promise.all(links.splice(0).map((one) => one.close()))
})
afterAll(() => removeTopics(options, [topic, other]))

function open(at: readonly string[] = brokers, sendLimitMs = 5_000): Publisher {
  const publisher = buildPublisher({ ...options, brokers: at, sendLimitMs })
  opened.push(publisher)
  return publisher
}

const record = (change: Partial<OutgoingRecord> = {}): OutgoingRecord => ({
  topic,
  key: '100',
  value: '{}',
  headers: {},
  ...change,
})

type Arrived = IncomingRecord & { partition: number }

/** Everything that is on the topic now. */
async function readAll(): Promise<Arrived[]> {
  const ends = await readTopicEnds(options, topic)
  const count = ends.reduce((sum, { start, end }) => sum + Number(end - start), 0)
  const arrived: Arrived[] = []
  const member = subscribe({
    ...options,
    groupId: `test-${randomUUID()}`,
    topic,
    partitionsAtOnceMax: 1,
    fail: () => {},
    onBatch: async ({ partition, records }) => {
      arrived.push(...records.map((one) => ({ ...one, partition })))
    },
  })
  for (const end = performance.now() + 20_000; arrived.length < count && performance.now() < end;)
    await pause(20)
  await member.stop()
  return arrived
}

interface Link {
  address: string
  close(): Promise<void>
  /** At the same port as before. */
  open(): Promise<unknown>
  /** Takes connections and says nothing. */
  hush(): void
}

async function link(): Promise<Link> {
  const [host = '', port = ''] = brokers[0]!.split(':')
  const sockets = new Set<Socket>()
  let silent = false
  let server: Server | undefined
  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket)).on('error', () => {})
    return socket
  }
  const open = async (at = 0) => {
    server = createServer((client) => {
      keep(client)
      if (silent) return
      const upstream = keep(connect(Number(port), host))
      client.pipe(upstream).pipe(client)
    })
    await new Promise<void>((resolve) => server?.listen(at, '127.0.0.1', resolve))
    return (server.address() as AddressInfo).port
  }
  const close = async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server?.close(resolve))
  }
  const at = await open()
  const made = {
    address: `127.0.0.1:${String(at)}`,
    close,
    open: () => open(at),
    hush: () => void (silent = true),
  }
  links.push(made)
  return made
}

describe('what is published', () => {
  it('arrives with its key, its headers and the bytes of its value, in the order of its key', async () => {
    const values = ['{ "a":1.0 }\n', '좋아요 😀', Buffer.from([0, 255, 254, 10]), '']
    const headers = { ce_id: randomUUID(), 'content-type': 'application/json', 'x-é': 'ü' }
    const key = `bytes-${randomUUID()}`
    await open().publish(values.map((value) => record({ key, value, headers })))
    const arrived = (await readAll()).filter((one) => one.key === key)
    expect(arrived.map((one) => one.value)).toEqual(values.map((value) => Buffer.from(value)))
    for (const one of arrived) {
      expect(Object.fromEntries(Object.entries(one.headers).map(([name, v]) => [name, String(v)]))).toEqual(
        headers,
      )
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
    await open().publish(Object.keys(hashes).map((key) => record({ key })))
    const arrived = await readAll()
    for (const [key, hash] of Object.entries(hashes)) {
      expect({ key, at: arrived.find((one) => one.key === key)?.partition }).toEqual({
        key,
        at: (hash & 0x7fffffff) % partitions,
      })
    }
  })

  it('goes to several topics in one call, also without key and value', async () => {
    const [before] = await readTopicEnds(options, other)
    const key = `null-${randomUUID()}`
    await open().publish([record({ topic: other, key: null }), record({ key, value: null })])
    expect((await readTopicEnds(options, other))[0]?.end).toBe(before!.end + 1n)
    expect((await readAll()).filter((one) => one.key === key).map((one) => one.value)).toEqual([null])
  })

  it('is nothing for an empty list', async () => {
    await open().publish([])
  })
})

describe('a record the broker does not take', () => {
  it('is a refused event when it is larger than the broker’s message.max.bytes, and harms none after it', async () => {
    const publisher = open()
    const large = record({ value: randomBytes(1_200_000) })
    await expect(publisher.publish([large])).rejects.toMatchObject({
      code: 'EVENT_REFUSED',
      retryable: false,
    })
    await publisher.publish([record()])
  })

  it('is an outage when its topic is not there: it may be made again', async () => {
    const nowhere = record({ topic: `test-${randomUUID()}` })
    await expect(open().publish([nowhere])).rejects.toMatchObject({
      code: 'BROKER_UNAVAILABLE',
      retryable: true,
    })
  })
})

describe('a broker that is away', () => {
  it('is told as an outage within the limit, and publishing works again when it is back', async () => {
    const way = await link()
    await way.close()
    const publisher = open([way.address], 2_500)
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const began = performance.now()
      await expect(publisher.publish([record()])).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' })
      expect(performance.now() - began).toBeLessThan(3_000)
    }
    await expect(publisher.ping()).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' })
    await way.open()
    const key = `back-${randomUUID()}`
    await publisher.publish([record({ key })])
    await publisher.ping()
    expect((await readAll()).filter((one) => one.key === key)).toHaveLength(1)
  })

  it('is told as an outage within the limit when it takes the connection and says nothing', async () => {
    const way = await link()
    way.hush()
    const publisher = open([way.address], 700)
    for (const attempt of [() => publisher.publish([record()]), () => publisher.ping()]) {
      const began = performance.now()
      await expect(attempt()).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' })
      expect(performance.now() - began).toBeLessThan(1_500)
    }
  })

  it('may take its part of concurrent sends with it, but not the sends that come after', async () => {
    const way = await link()
    await way.close()
    const publisher = open([way.address], 2_500)
    const failed = await Promise.allSettled([1, 2, 3, 4].map(() => publisher.publish([record()])))
    expect(failed.every(({ status }) => status === 'rejected')).toBe(true)
    await way.open()
    await Promise.all([1, 2, 3, 4].map(() => publisher.publish([record()])))
  })
})
