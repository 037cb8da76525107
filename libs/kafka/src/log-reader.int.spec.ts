import { randomUUID } from 'node:crypto'
import { buildLogger, parseBrokers, pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals'
import type { Admin, Producer } from 'kafkajs'
import { type KafkaOptions, buildKafka } from './client.ts'
import { readLog } from './log-reader.ts'
import { openLink } from './testing.ts'
import { ensureTopics, removeTopics } from './topics.ts'

// See subscriber.int.spec.ts: kafkajs may wedge in silence while it joins a group.
jest.retryTimes(2, { logErrorsBeforeRetry: true })
jest.setTimeout(60_000)

const options: KafkaOptions = {
  brokers: parseBrokers(process.env['KAFKA_BROKERS'] ?? ''),
  clientId: 'test',
  requestTimeoutMs: 10_000,
  log: buildLogger({ service: 'test', level: 'silent' }),
}
const partitions = 2
/** Kafka's number for a fetch. */
const fetchKey = 1
const count = 60
const made: string[] = []
let admin: Admin
let producer: Producer
let topic: string
let groupId: string
let stops: (() => Promise<void>)[]

beforeAll(async () => {
  admin = buildKafka(options).admin({ retry: { retries: 8 } })
  producer = buildKafka(options).producer({ retry: { retries: 8 } })
  await Promise.all([admin.connect(), producer.connect()])
})
afterAll(async () => {
  await removeTopics(options, made)
  await Promise.all([admin.disconnect(), producer.disconnect()])
})
beforeEach(async () => {
  ;[topic, groupId] = [`test-${randomUUID()}`, `test-${randomUUID()}`]
  made.push(topic)
  stops = []
  await ensureTopics(options, [{ topic, partitions, replicationFactor: 1, retentionMs: 3_600_000 }])
  for (let partition = 0; partition < partitions; partition += 1) {
    const messages = Array.from({ length: count }, (_, i) => ({ value: String(i), partition }))
    await producer.send({ topic, messages, acks: -1 })
  }
})
afterEach(async () => {
  for (const stop of stops) await stop()
})

const fail = (error: unknown): never => {
  throw error
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const end = performance.now() + 40_000; !holds(); await pause(20)) {
    if (performance.now() > end) throw new Error(`Not in time: ${what}`)
  }
}

/** As the group has it whose last reader was killed: somewhere behind what is wanted. */
const leaveOffsets = (offset: number) =>
  admin.setOffsets({
    ...{ groupId, topic },
    partitions: Array.from({ length: partitions }, (_, partition) => ({ partition, offset: String(offset) })),
  })

const all = Array.from({ length: count }, (_, i) => i)

describe('reading a log', () => {
  it('begins where it is told, whatever its group has, and passes nothing over', async () => {
    await leaveOffsets(40)
    const seen = new Map<number, number[]>()
    stops.push(
      readLog({
        ...{ ...options, topic, groupId, fail },
        from: new Map([[1, 10n]]),
        onRecords: async (partition, records) => {
          const offsets = records.map(({ offset }) => Number(offset))
          seen.set(partition, [...(seen.get(partition) ?? []), ...offsets])
          return true
        },
      }),
    )
    await until('all is read', () => [...seen.values()].flat().length >= 2 * count - 10)
    expect([seen.get(0), seen.get(1)]).toEqual([all, all.slice(10)])
  })

  it('seeks again where a rebalance has lost its seek: nothing is passed over or read twice', async () => {
    // Partition 0 is wanted from where the group is, so its records come at once; partition 1 has to be sought.
    await leaveOffsets(40)
    const link = await openLink(options.brokers[0] ?? '')
    stops.push(() => link.close())
    const said: string[] = []
    const log = buildLogger({ service: 'test', level: 'warn' }, { write: (line) => void said.push(line) })
    const seen = new Map<number, number[]>()
    stops.unshift(
      readLog({
        ...{ ...options, topic, groupId, fail, log },
        ...{ brokers: [link.address], requestTimeoutMs: 1_000 },
        from: new Map([[0, 40n]]),
        onRecords: async (partition, records) => {
          const isFirst = seen.size === 0
          const offsets = records.map(({ offset }) => Number(offset))
          seen.set(partition, [...(seen.get(partition) ?? []), ...offsets])
          // What came with it is sought by then; that fetch has no answer, and its client makes way for a fresh one.
          if (isFirst) await pause(500).then(() => link.swallow(fetchKey))
          return true
        },
      }),
    )
    await until('the client is given up', () => said.some((line) => line.includes('consumer starts again')))
    link.swallow()
    await until('all is read', () => [...seen.values()].flat().length >= count + 20)
    expect([seen.get(0), seen.get(1)]).toEqual([all.slice(40), all])
  })
})
