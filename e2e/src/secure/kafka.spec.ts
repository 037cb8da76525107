import { topicPlans, topics } from '@likewise/events'
import {
  type KafkaClient,
  type KafkaOptions,
  addPartitions,
  buildPublisher,
  ensureAccess,
  ensureTopics,
  readGroupPositions,
  readLog,
  readTopicEnds,
  readTopicRetention,
  removeTopics,
  subscribe,
} from '@likewise/kafka'
import { buildLogger } from '@likewise/service'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import { eventually } from '../system.ts'
import {
  type SecureBroker,
  type User,
  group,
  optionsOf,
  passwordOf,
  startSecureBroker,
  users,
} from './broker.ts'
import { type Authority, type Identity, makeAuthority } from './certificates.ts'

let [ours, others]: Authority[] = []
let broker: SecureBroker
const stops: (() => Promise<unknown>)[] = []

beforeAll(async () => {
  ;[ours, others] = [await makeAuthority(), await makeAuthority()]
  const identity = await ours.issue('kafka=IP:127.0.0.1')
  broker = await startSecureBroker({ sasl: true, tls: identity })
  // The first handshake is Java's slowest.
  await eventually(
    () => readTopicEnds(way({ user: 'operator' }), 'none').then(() => false, isUnknownTopic),
    60_000,
  )
}, 180_000)
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})
afterAll(async () => {
  await broker.remove()
  await Promise.all([ours?.remove(), others?.remove()])
})

interface Way {
  user?: string
  password?: string
  ca?: string | undefined
  host?: string
  plain?: boolean
}

function way({
  user = 'outbox-relay',
  password = passwordOf(user),
  ca = ours?.ca,
  host = '127.0.0.1',
  plain,
}: Way = {}): KafkaOptions {
  return optionsOf({
    brokers: [`${host}:${broker.server.port}`],
    ...(!plain && { tls: { ca: ca ?? '' } }),
    sasl: { mechanism: 'scram-sha-512', username: user, password },
  })
}

const isUnknownTopic = (error: unknown): boolean =>
  /does not host this topic|not let this user do it/.test(String(error))

const record = (topic: string) => ({ topic, key: '1', value: '{}', headers: {} })

function publish(
  options: KafkaOptions,
  topic: string = topics.catalogEvents,
  client: KafkaClient = 'kafkajs',
) {
  const publisher = buildPublisher({ ...options, client, sendLimitMs: 10_000 })
  stops.push(() => publisher.stop())
  return publisher.publish([record(topic)])
}

describe('each user', () => {
  it('topics makes both topics, adds partitions, and nobody else does', async () => {
    const made = await ensureTopics(way({ user: 'topics' }), topicPlans)
    expect(made.sort()).toEqual(topicPlans.map(({ topic }) => topic).sort())
    expect(await addPartitions(way({ user: 'topics' }), topics.catalogEvents, 24)).toBe(12)
  }, 60_000)

  it.each(['kafkajs', 'platformatic'] as const)(
    'outbox-relay publishes with %s',
    async (client) => {
      expect(await publish(way(), topics.catalogEvents, client)).toHaveLength(1)
      const publisher = buildPublisher({ ...way(), client, sendLimitMs: 10_000 })
      stops.push(() => publisher.stop())
      await publisher.ping()
    },
    60_000,
  )

  it('metrics-consumer reads as a member of its group, asks how long records stay, and copies dead letters', async () => {
    const options = way({ user: 'metrics-consumer' })
    const seen: bigint[] = []
    const subscriber = subscribe({
      ...options,
      groupId: group,
      topic: topics.catalogEvents,
      partitionsAtOnceMax: 3,
      onBatch: async ({ records }) => {
        seen.push(...records.map(({ offset }) => offset))
        return undefined
      },
      fail: (error) => {
        throw error
      },
    })
    stops.push(() => subscriber.stop())
    await eventually(async () => seen.length >= 2)
    expect(await readTopicRetention(options, topics.catalogEvents)).toMatchObject({ cleanupPolicy: 'delete' })
    await publish(options, topics.deadLetters)
    await eventually(async () =>
      (await readGroupPositions(options, topics.catalogEvents, group)).some(
        ({ committed }) => committed !== null,
      ),
    )
  }, 90_000)

  it('operator reads the topic in a group of its own, which it removes, and sees how far it reaches', async () => {
    const options = way({ user: 'operator' })
    expect((await readTopicEnds(options, topics.catalogEvents)).reduce((sum, { end }) => sum + end, 0n)).toBe(
      2n,
    )
    let read = 0
    const stop = readLog({
      ...options,
      topic: topics.catalogEvents,
      groupId: `${group}-replay-1`,
      from: new Map(),
      onRecords: async (_, records) => {
        read += records.length
        return true
      },
      fail: (error) => {
        throw error
      },
    })
    await eventually(async () => read === 2)
    await stop()
  }, 90_000)
})

it('scaler sees how far the topic reaches and how far its consumer is, as KEDA asks', async () => {
  const options = way({ user: 'scaler' })
  const ends = await readTopicEnds(options, topics.catalogEvents)
  expect(ends.reduce((sum, { end }) => sum + end, 0n)).toBe(2n)
  const committed = (await readGroupPositions(options, topics.catalogEvents, group)).flatMap(
    (one) => one.committed ?? [],
  )
  expect(committed.reduce((sum, offset) => sum + offset, 0n)).toBe(2n)
}, 60_000)

/** What a user might try; each is refused to everybody who has no use for it. */
const attempts: Record<string, (options: KafkaOptions) => Promise<unknown>> = {
  'publish events': (options) => publish(options),
  'publish events with the other client': (options) => publish(options, topics.catalogEvents, 'platformatic'),
  'publish dead letters': (options) => publish(options, topics.deadLetters),
  'publish to a topic of somebody else': (options) => publish(options, 'foreign'),
  'make a topic': (options) =>
    ensureTopics(options, [
      { topic: `made-${options.sasl?.username ?? ''}`, partitions: 1, retentionMs: 1_000 },
    ]),
  'add partitions': (options) => addPartitions(options, topics.catalogEvents, 36),
  'remove the topic': async (options) => {
    await removeTopics(options, [topics.catalogEvents])
    throw new Error('removed nothing: it does not see it, or it is gone')
  },
  'ask how long records stay': (options) => readTopicRetention(options, topics.catalogEvents),
  'ask how far the consumer is': (options) => readGroupPositions(options, topics.catalogEvents, group),
  'give out rights': (options) =>
    ensureAccess(options, [{ user: 'thief', rights: [{ on: 'topic', name: 'x', may: ['read'] }] }]),
  'set a password': (options) => ensureAccess(options, [{ user: 'topics', password: 'stolen', rights: [] }]),
}

const may: Record<string, readonly User[]> = {
  'publish events': ['outbox-relay'],
  'publish events with the other client': ['outbox-relay'],
  'publish dead letters': ['metrics-consumer'],
  'ask how long records stay': ['metrics-consumer'],
  'ask how far the consumer is': ['metrics-consumer', 'operator', 'scaler'],
}

describe('nobody else may', () => {
  beforeAll(async () => {
    await ensureTopics(broker.admin, [{ topic: 'foreign', partitions: 1, retentionMs: 60_000 }])
  })

  it.each(
    Object.entries(attempts).flatMap(([what, attempt]) =>
      users
        .filter((user) => !may[what]?.includes(user) && !(what === 'add partitions' && user === 'topics'))
        .map((user) => ({ what, attempt, user })),
    ),
  )(
    '$what: $user',
    async ({ attempt, user }) => {
      await expect(attempt(way({ user }))).rejects.toThrow()
    },
    30_000,
  )

  it('and nothing came of it', async () => {
    const ends = await readTopicEnds(broker.admin, topics.catalogEvents)
    expect(ends).toHaveLength(24)
    expect(ends.reduce((sum, { end }) => sum + end, 0n)).toBe(2n)
    expect(
      (await readTopicEnds(broker.admin, topics.deadLetters)).reduce((sum, { end }) => sum + end, 0n),
    ).toBe(1n)
    expect((await readTopicEnds(broker.admin, 'foreign')).map(({ end }) => end)).toEqual([0n])
    await expect(publish(way({ user: 'topics', password: 'stolen' }), 'foreign')).rejects.toThrow(
      /does not let this user in/,
    )
  })

  it('nor read the events, as whoever', async () => {
    for (const user of ['outbox-relay', 'topics'] as const) {
      const subscriber = subscribe({
        ...way({ user }),
        groupId: group,
        topic: topics.catalogEvents,
        partitionsAtOnceMax: 1,
        onBatch: () => Promise.reject(new Error('read')),
        fail: () => undefined,
      })
      stops.push(() => subscriber.stop())
      // kafkajs does not say that the right to the group is missing, only that it finds nobody for it.
      await expect(readGroupPositions(way({ user }), topics.catalogEvents, group)).rejects.toThrow(
        'Failed to find group coordinator',
      )
      expect(subscriber.joined()).toBe(false)
    }
  }, 30_000)

  it('nor become a member of the group, as one who may see how far it is', async () => {
    const said: string[] = []
    const log = buildLogger({ service: 'e2e', level: 'warn' }, { write: (line) => void said.push(line) })
    const subscriber = subscribe({
      ...{ ...way({ user: 'scaler' }), log },
      groupId: group,
      topic: topics.catalogEvents,
      partitionsAtOnceMax: 1,
      onBatch: () => Promise.reject(new Error('read')),
      fail: () => undefined,
    })
    stops.push(() => subscriber.stop())
    await eventually(async () => said.some((line) => line.includes('consumer starts again')))
    expect(said.join('')).toMatch(/[Nn]ot authorized to access group/)
    expect(subscriber.joined()).toBe(false)
  }, 60_000)
})

describe.each(['kafkajs', 'platformatic'] as const)('%s takes for an outage, in a sentence,', (client) => {
  it.each([
    [
      'a wrong password',
      { password: 'wrong' },
      /^Kafka does not let this user in \(see KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD\)/,
    ],
    ['a user that there is not', { user: 'nobody' }, /^Kafka does not let this user in/],
    [
      'a broker of another CA',
      { ca: 'others' },
      /^Kafka's certificate is not to be trusted \(see KAFKA_TLS_CA/,
    ],
    [
      'a broker of another name',
      { host: 'localhost' },
      /^Kafka's certificate is not to be trusted .*localhost/,
    ],
    [
      'a broker that wants TLS, and is asked without',
      { plain: true },
      /^Kafka (does not take or give records|has not answered)/,
    ],
  ])(
    '%s',
    async (_, { ca, ...wrong }: Way, sentence) => {
      const sent = publish(way({ ...wrong, ...(ca && { ca: others?.ca }) }), topics.catalogEvents, client)
      await expect(sent).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE', retryable: true })
      await expect(sent).rejects.toThrow(sentence)
    },
    30_000,
  )
})

describe('with certificates on both sides', () => {
  let mutual: SecureBroker
  let clients: Record<string, Identity>

  beforeAll(async () => {
    if (!ours || !others) throw new Error('no CA')
    mutual = await startSecureBroker({
      sasl: false,
      tls: { ...(await ours.issue('kafka=IP:127.0.0.1')), clientCa: ours.ca },
    })
    clients = {
      relay: await ours.issue('outbox-relay'),
      topics: await ours.issue('topics'),
      stranger: await others.issue('outbox-relay'),
    }
  }, 180_000)
  afterAll(() => mutual.remove())

  const by = (client?: string): KafkaOptions =>
    optionsOf({
      brokers: [mutual.server.brokers],
      tls: { ca: ours?.ca ?? '', ...(client && clients[client]) },
    })

  it.each(['kafkajs', 'platformatic'] as const)(
    'a client is known by its certificate to be who it is (%s)',
    async (client) => {
      await ensureTopics(by('topics'), topicPlans)
      expect(await publish(by('relay'), topics.catalogEvents, client)).toHaveLength(1)
      await expect(publish(by('topics'), topics.catalogEvents, client)).rejects.toThrow(
        /does not let this user do it/,
      )
      for (const stranger of ['stranger', undefined]) {
        const sent = publish(by(stranger), topics.catalogEvents, client)
        await expect(sent).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' })
      }
    },
    60_000,
  )
})
