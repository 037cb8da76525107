import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { buildPublisher, ensureTopics, readTopicEnds } from '@likewise/kafka'
import { kafkaAnswers } from './answers.ts'
import { startEmbeddedKafka } from './embedded-kafka.ts'
import type { EmbeddedKafka } from './embedded-kafka.ts'
import { errorCode } from './error-code.ts'
import { readRecords } from './process-records.ts'
import { silentLog, temporaryHome } from './testing.ts'
import type { TemporaryHome } from './testing.ts'
import { until } from './until.ts'

const topic = 'kept'

let temporary: TemporaryHome
let kafka: EmbeddedKafka

// One broker for all: its start is the dear part.
beforeAll(async () => {
  temporary = await temporaryHome(0o700)
  kafka = await startEmbeddedKafka({ home: temporary.home, log: silentLog })
})
afterAll(async () => {
  await kafka.stop()
  await temporary.remove()
})

const options = () => ({
  brokers: [kafka.brokers],
  clientId: 'test',
  log: silentLog,
  requestTimeoutMs: 10_000,
})

async function publishOne(): Promise<void> {
  const publisher = buildPublisher({ ...options(), sendLimitMs: 10_000 })
  try {
    const publish = () => publisher.publish([{ topic, key: 'k', value: 'v', headers: {} }])
    // A topic just made may still be without its leaders, and the publisher never tries again by itself.
    expect(await until(() => holds(publish()), 20_000)).toBe(true)
  } finally {
    await publisher.stop()
  }
}

async function expectRecords(count: number): Promise<void> {
  const read = async () => {
    const ends = await readTopicEnds(options(), topic)
    expect(ends.reduce((sum, { start, end }) => sum + Number(end - start), 0)).toBe(count)
  }
  expect(await until(() => holds(read()), 20_000)).toBe(true)
}

/** Whether it succeeds; false only while the broker says that it is not ready for this. */
const holds = (attempt: Promise<unknown>): Promise<boolean> =>
  attempt.then(
    () => true,
    (error: unknown) => {
      if (errorCode(error) === 'BROKER_UNAVAILABLE') return false
      throw error
    },
  )

describe('embedded Kafka', () => {
  it('answers and makes topics', async () => {
    expect(await kafkaAnswers(kafka.port)).toBe(true)
    const plan = { topic, partitions: 12, replicationFactor: 1, retentionMs: 3_600_000 }
    expect(await ensureTopics(options(), [plan])).toEqual([topic])
    await publishOne()
    await expectRecords(1)
  })

  it('keeps records and port when it is stopped and started by another run', async () => {
    const { port, pid } = kafka
    await kafka.stop()
    expect(readRecords(temporary.home)).toEqual([])
    expect(await kafkaAnswers(port)).toBe(false)
    kafka = await startEmbeddedKafka({ home: temporary.home, log: silentLog })
    expect(kafka.port).toBe(port)
    expect(kafka.pid).not.toBe(pid)
    await expectRecords(1)
  })

  it('keeps records when it is killed and started again', async () => {
    await publishOne()
    await kafka.kill()
    expect(kafka.pid).toBeUndefined()
    await kafka.start()
    await expectRecords(2)
  })

  it('leaves no large or stray files', async () => {
    expect(existsSync(join(temporary.home, 'kafka', 'classes.jsa'))).toBe(false)
    expect((await readFile(join(temporary.home, 'logs', 'kafka.log'), 'utf8')).length).toBeLessThan(500_000)
  })
})
