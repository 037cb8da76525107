import type { Admin, ConfigResourceTypes } from 'kafkajs'
import { Failure, pause } from '@likewise/service'
import { type KafkaOptions, buildKafka } from './client.ts'
import { kafkaFailure } from './failure.ts'
import { keepSockets } from './sockets.ts'

export interface TopicPlan {
  topic: string
  partitions: number
  /** The broker's default where it is left out: what somebody with several brokers has set there is meant. */
  replicationFactor?: number
  retentionMs: number
  /** Largest batch of records; the broker's default where it is left out. */
  maxMessageBytes?: number
}

/**
 * Creates the topics that are missing, with the broker's time as the time of their records, and leaves the
 * others as they are: the key → partition map depends on the number of partitions, so an existing topic with another number
 * is refused, not changed.
 *
 * @returns the names of the topics it made.
 */
export async function ensureTopics(options: KafkaOptions, plans: readonly TopicPlan[]): Promise<string[]> {
  return withAdmin(options, async (admin) => {
    const existing = await admin.listTopics()
    const missing = plans.filter((plan) => !existing.includes(plan.topic))
    const present = plans.filter((plan) => existing.includes(plan.topic))
    if (present.length > 0) {
      const { topics } = await admin.fetchTopicMetadata({ topics: present.map((plan) => plan.topic) })
      for (const plan of present) {
        const found = topics.find(({ name }) => name === plan.topic)?.partitions.length ?? 0
        if (found % plan.partitions !== 0 || found === 0) {
          throw new Failure(
            'CONFIG_INVALID',
            `Topic ${plan.topic} has ${String(found)} partitions; it needs ${String(plan.partitions)} or a multiple. ` +
              'Give it a new name, or drain it and make it again.',
          )
        }
      }
    }
    await admin.createTopics({
      waitForLeaders: false,
      topics: missing.map((plan) => ({
        topic: plan.topic,
        numPartitions: plan.partitions,
        replicationFactor: plan.replicationFactor ?? -1,
        configEntries: [
          { name: 'cleanup.policy', value: 'delete' },
          { name: 'retention.ms', value: String(plan.retentionMs) },
          // Not the sender's clock: one that is behind would let Kafka take records away that nobody has read.
          { name: 'message.timestamp.type', value: 'LogAppendTime' },
          ...(plan.maxMessageBytes === undefined
            ? []
            : [{ name: 'max.message.bytes', value: String(plan.maxMessageBytes) }]),
        ],
      })),
    })
    const made = missing.map((plan) => plan.topic)
    await untilLed(admin, made)
    return made
  })
}

const ledWithinMs = 30_000

/**
 * kafkajs would wait too, but ends at once where a broker does not know a topic yet that another has just made. And a
 * broker that is named as the leader may not lead yet: it refuses that partition, and kafkajs's producer then sends the
 * whole request again, with the partitions that had taken it. Only an answer from the leader itself is an end.
 */
async function untilLed(admin: Admin, topics: string[]): Promise<void> {
  if (topics.length === 0) return
  const endMs = performance.now() + ledWithinMs
  for (;;) {
    await pause(50)
    try {
      const metadata = await admin.fetchTopicMetadata({ topics })
      if (metadata.topics.every(({ partitions }) => partitions.every(({ leader }) => leader >= 0))) {
        for (const topic of topics) await admin.fetchTopicOffsets(topic)
        return
      }
    } catch (error) {
      if (performance.now() > endMs) throw error
      continue
    }
    if (performance.now() > endMs)
      throw new Failure('BROKER_UNAVAILABLE', `Topics ${topics.join(', ')} have no leaders yet; try again.`)
  }
}

/**
 * Gives a topic more partitions, while it is used. Keys change theirs: what was sent before must have been handled by then,
 * or the order of a key is lost (docs/operations.md).
 *
 * @returns how many it had.
 */
export async function addPartitions(
  options: KafkaOptions,
  topic: string,
  partitions: number,
): Promise<number> {
  return withAdmin(options, async (admin) => {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    const before = topics[0]?.partitions.length ?? 0
    if (before > partitions) {
      throw new Failure(
        'CONFIG_INVALID',
        `Topic ${topic} has ${String(before)} partitions; Kafka takes none away. Give at least as many.`,
      )
    }
    if (before < partitions) {
      await admin.createPartitions({ topicPartitions: [{ topic, count: partitions }] })
      await untilLed(admin, [topic])
    }
    return before
  })
}

/** First offset and end (the offset the next record will get) of each partition. */
export async function readTopicEnds(
  options: KafkaOptions,
  topic: string,
  stopping?: AbortSignal,
): Promise<{ partition: number; start: bigint; end: bigint }[]> {
  const read = async (admin: Admin) => {
    const ends = await admin.fetchTopicOffsets(topic)
    return ends
      .map(({ partition, low, high }) => ({ partition, start: BigInt(low), end: BigInt(high) }))
      .sort((a, b) => a.partition - b.partition)
  }
  return withAdmin(options, read, stopping)
}

/** The offset of the first record that came at that time or later; of each partition, its end where there is none. */
export async function readOffsetsAt(
  options: KafkaOptions,
  topic: string,
  timeMs: number,
): Promise<Map<number, bigint>> {
  return withAdmin(options, async (admin) => {
    const offsets = await admin.fetchTopicOffsetsByTimestamp(topic, timeMs)
    return new Map(offsets.map(({ partition, offset }) => [partition, BigInt(offset)]))
  })
}

// Kafka's number for a topic among its resources. kafkajs has an enum for it that Node cannot import by its name, but jest
// can.
// eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment
export const topicResource = 2 as ConfigResourceTypes

export interface TopicRetention {
  /** How long records stay at least; Infinity: for ever. */
  retentionMs: number
  /** `delete`, `compact`, or both. */
  cleanupPolicy: string
}

/** Kafka's settings, by their names. */
export const settingsOf = (
  entries: readonly { configName: string; configValue: string }[],
): Record<string, string> =>
  Object.fromEntries(entries.map(({ configName, configValue }) => [configName, configValue]))

/** What of a topic's settings says how long its records stay. Pure. */
export function retentionOf(settings: Readonly<Record<string, string>>): TopicRetention {
  const retentionMs = Number(settings['retention.ms'] ?? '')
  return {
    retentionMs: retentionMs < 0 ? Infinity : retentionMs,
    cleanupPolicy: settings['cleanup.policy'] ?? '',
  }
}

/** The same, asked of the broker. Rejects at once when `stopping` aborts. */
export async function readTopicRetention(
  options: KafkaOptions,
  topic: string,
  stopping?: AbortSignal,
): Promise<TopicRetention> {
  const read = async (admin: Admin) => {
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: topicResource, name: topic, configNames: ['retention.ms', 'cleanup.policy'] }],
    })
    return retentionOf(settingsOf(resources[0]?.configEntries ?? []))
  }
  return withAdmin(options, read, stopping)
}

/** Removes the topics that exist, with all their records; for topics made for a while. */
export async function removeTopics(options: KafkaOptions, topics: readonly string[]): Promise<void> {
  await withAdmin(options, async (admin) => {
    const existing = new Set(await admin.listTopics())
    const present = topics.filter((topic) => existing.has(topic))
    if (present.length === 0) return
    await admin.deleteTopics({ topics: present }).catch((error: unknown) => {
      // One that was just removed may be listed a little longer; the others are removed all the same.
      if ((error as { type?: string }).type !== 'UNKNOWN_TOPIC_OR_PARTITION') throw error
    })
  })
}

/** Removes the consumer groups that exist and have no members, with what they have read. */
export async function removeGroups(options: KafkaOptions, groupIds: readonly string[]): Promise<void> {
  await withAdmin(options, async (admin) => {
    const { groups } = await admin.listGroups()
    const present = groups.map(({ groupId }) => groupId).filter((groupId) => groupIds.includes(groupId))
    if (present.length > 0) await admin.deleteGroups(present)
  })
}

export async function withAdmin<T>(
  options: KafkaOptions,
  work: (admin: Admin) => Promise<T>,
  stopping: AbortSignal = new AbortController().signal,
): Promise<T> {
  const sockets = keepSockets()
  const admin = buildKafka(options, sockets.open).admin({
    retry: { retries: 3, initialRetryTime: 100, maxRetryTime: 1_000 },
  })
  // A broker that takes the connection and says nothing would be waited for, for as long as a request may take.
  const cut = () => {
    sockets.destroy()
  }
  stopping.addEventListener('abort', cut)
  try {
    stopping.throwIfAborted()
    await admin.connect()
    return await work(admin)
  } catch (error) {
    throw kafkaFailure(error)
  } finally {
    stopping.removeEventListener('abort', cut)
    await admin.disconnect().catch(() => undefined)
  }
}
