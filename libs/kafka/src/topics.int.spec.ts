import { randomUUID } from 'node:crypto'
import { buildLogger, parseBrokers, pause } from '@likewise/service'
import { afterAll, describe, expect, it } from '@jest/globals'
import { ConfigResourceTypes } from 'kafkajs'
import { type KafkaOptions, buildKafka } from './client.ts'
import { buildPublisher } from './publisher.ts'
import {
  type TopicPlan,
  addPartitions,
  ensureTopics,
  readTopicEnds,
  readTopicRetention,
  removeTopics,
} from './topics.ts'

const options: KafkaOptions = {
  brokers: parseBrokers(process.env['KAFKA_BROKERS'] ?? ''),
  clientId: 'test',
  requestTimeoutMs: 10_000,
  log: buildLogger({ service: 'test', level: 'silent' }),
}
const made: string[] = []

afterAll(() => removeTopics(options, made))

const plan = (change: Partial<TopicPlan> = {}): TopicPlan => {
  const wanted = {
    topic: `test-${randomUUID()}`,
    partitions: 3,
    retentionMs: 3_600_000,
  }
  made.push(wanted.topic)
  return { ...wanted, ...change }
}

async function admin<T>(
  work: (client: ReturnType<ReturnType<typeof buildKafka>['admin']>) => Promise<T>,
): Promise<T> {
  const client = buildKafka(options).admin()
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.disconnect()
  }
}

const partitionsOf = async (topic: string): Promise<number | undefined> => {
  const { topics } = await admin((client) => client.fetchTopicMetadata({ topics: [topic] }))
  return topics[0]?.partitions.length
}

async function configOf(topic: string, names: string[]): Promise<Record<string, string>> {
  const { resources } = await admin((client) =>
    client.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configNames: names }],
    }),
  )
  return Object.fromEntries(resources[0]!.configEntries.map((entry) => [entry.configName, entry.configValue]))
}

/** A topic that was just made may have no leader for a moment; nothing is stored by a send that it refuses. */
async function until(what: string, work: () => Promise<unknown>, limitMs = 10_000): Promise<void> {
  for (const end = performance.now() + limitMs; ; await pause(50)) {
    try {
      await work()
      return
    } catch (error) {
      if (performance.now() > end)
        throw new Error(`Not within ${String(limitMs)} ms: ${what}`, { cause: error })
    }
  }
}

describe('ensureTopics', () => {
  it('makes the topics that are missing, with their partitions and retention, and says which', async () => {
    const [one, two] = [plan(), plan({ partitions: 12 })]
    expect(await ensureTopics(options, [one, two])).toEqual([one.topic, two.topic])
    expect([await partitionsOf(one.topic), await partitionsOf(two.topic)]).toEqual([3, 12])
    expect(await configOf(one.topic, ['cleanup.policy', 'retention.ms', 'message.timestamp.type'])).toEqual({
      'cleanup.policy': 'delete',
      'retention.ms': '3600000',
      'message.timestamp.type': 'LogAppendTime',
    })
  })

  it('lets a topic take larger records than others where its plan says so', async () => {
    const large = { ...plan(), maxMessageBytes: 2_000_000 }
    await ensureTopics(options, [large])
    expect(await configOf(large.topic, ['max.message.bytes'])).toEqual({ 'max.message.bytes': '2000000' })
  })

  it('leaves a topic that is there as it is, and makes only the others', async () => {
    const [there, missing] = [plan(), plan()]
    await ensureTopics(options, [there])
    expect(await ensureTopics(options, [{ ...there, retentionMs: 60_000 }, missing])).toEqual([missing.topic])
    expect(await ensureTopics(options, [there, missing])).toEqual([])
    expect(await configOf(there.topic, ['retention.ms'])).toEqual({ 'retention.ms': '3600000' })
  })

  it('takes a topic that somebody made with a multiple of the partitions', async () => {
    const wanted = plan()
    await ensureTopics(options, [{ ...wanted, partitions: 6 }])
    expect(await ensureTopics(options, [wanted])).toEqual([])
  })

  it('refuses a topic with another number of partitions: keys would change their partition', async () => {
    const [wanted, other] = [plan(), plan()]
    await ensureTopics(options, [{ ...wanted, partitions: 4 }])
    await expect(ensureTopics(options, [wanted, other])).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(`${wanted.topic} has 4 partitions; it needs 3 or a multiple`),
    })
    expect(await partitionsOf(wanted.topic)).toBe(4)
    const names = await admin((client) => client.listTopics())
    expect(names).not.toContain(other.topic)
  })

  it('makes a topic once when several processes ask for it at the same time', async () => {
    const wanted = plan()
    await Promise.all([1, 2, 3].map(() => ensureTopics(options, [wanted])))
    expect(await partitionsOf(wanted.topic)).toBe(3)
  })

  it('says that the broker is away when nobody listens', async () => {
    const away = { ...options, brokers: ['127.0.0.1:1'] }
    await expect(ensureTopics(away, [plan()])).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' })
  })
})

describe('addPartitions', () => {
  it('gives a topic more partitions, says how many it had, and once it has them does nothing', async () => {
    const wanted = plan()
    await ensureTopics(options, [wanted])
    expect(await addPartitions(options, wanted.topic, 6)).toBe(3)
    expect(await partitionsOf(wanted.topic)).toBe(6)
    expect(await addPartitions(options, wanted.topic, 6)).toBe(6)
  })

  it('refuses fewer than there are', async () => {
    const wanted = plan()
    await ensureTopics(options, [wanted])
    await expect(addPartitions(options, wanted.topic, 2)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(`${wanted.topic} has 3 partitions; Kafka takes none away`),
    })
  })
})

describe('readTopicEnds', () => {
  it('tells the first offset and the end of each partition', async () => {
    const wanted = plan()
    await ensureTopics(options, [wanted])
    const empty = [0, 1, 2].map((partition) => ({ partition, start: 0n, end: 0n }))
    await until('the new topic tells its ends', async () => {
      expect(await readTopicEnds(options, wanted.topic)).toEqual(empty)
    })

    const publisher = buildPublisher({ ...options, sendLimitMs: 10_000 })
    const record = { topic: wanted.topic, key: '21', value: '{}', headers: {} }
    await until('the new topic takes records', () => publisher.publish([record, record]))
    await publisher.stop()
    const partition = (-973932308 & 0x7fffffff) % 3
    expect(await readTopicEnds(options, wanted.topic)).toEqual(
      empty.with(partition, { partition, start: 0n, end: 2n }),
    )

    await admin(async (client) => {
      await client.fetchTopicOffsets(wanted.topic) // the client wants to have heard of the topic first
      await client.deleteTopicRecords({ topic: wanted.topic, partitions: [{ partition, offset: '1' }] })
    })
    expect((await readTopicEnds(options, wanted.topic))[partition]).toEqual({ partition, start: 1n, end: 2n })
  })

  it('says that the broker does not give a topic that is not there', async () => {
    await expect(readTopicEnds(options, `test-${randomUUID()}`)).rejects.toMatchObject({
      code: 'BROKER_UNAVAILABLE',
    })
  })
})

describe('removeTopics', () => {
  it('removes the topics that exist, and does not mind the others', async () => {
    const [there, never] = [plan(), plan()]
    await ensureTopics(options, [there])
    await removeTopics(options, [there.topic, never.topic])
    await until('it is gone', async () => {
      expect(await admin((client) => client.listTopics())).not.toContain(there.topic)
    })
    await removeTopics(options, [there.topic])
  })
})

describe('readTopicRetention', () => {
  it('tells how long records stay, for ever included, and by which policy', async () => {
    const one = plan()
    await ensureTopics(options, [one])
    expect(await readTopicRetention(options, one.topic)).toEqual({
      retentionMs: 3_600_000,
      cleanupPolicy: 'delete',
    })
    const configEntries = [
      { name: 'retention.ms', value: '-1' },
      { name: 'cleanup.policy', value: 'compact' },
    ]
    await admin((client) =>
      client.alterConfigs({
        validateOnly: false,
        resources: [{ type: ConfigResourceTypes.TOPIC, name: one.topic, configEntries }],
      }),
    )
    await until('the settings are changed', async () => {
      const expected = { retentionMs: Infinity, cleanupPolicy: 'compact' }
      expect(await readTopicRetention(options, one.topic)).toEqual(expected)
    })
  })

  it('fails as an outage where the topic is not there', async () => {
    await expect(readTopicRetention(options, `test-${randomUUID()}`)).rejects.toMatchObject({
      code: 'BROKER_UNAVAILABLE',
    })
  })
})
