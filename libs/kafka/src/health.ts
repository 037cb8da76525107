import type { KafkaOptions } from './client.ts'
import { settingsOf, topicResource, withAdmin } from './topics.ts'

export interface TopicHealth {
  readonly topic: string
  /** 0: there is no such topic. */
  readonly partitions: number
  /** Partitions that nobody leads. */
  readonly leaderless: readonly number[]
  /** Partitions of which some copies are behind. */
  readonly underReplicated: readonly number[]
  /** Copies of the partition that has the fewest. */
  readonly replicationFactor: number
  /** By their names in Kafka. */
  readonly settings: Readonly<Record<string, string>>
}

export interface ClusterHealth {
  readonly brokers: number
  readonly topics: readonly TopicHealth[]
}

const settingNames = [
  'cleanup.policy',
  'max.message.bytes',
  'message.timestamp.type',
  'min.insync.replicas',
  'retention.bytes',
  'retention.ms',
  'unclean.leader.election.enable',
]

/** What of the brokers and these topics says whether records are kept as promised. */
export async function readClusterHealth(
  options: KafkaOptions,
  topics: readonly string[],
): Promise<ClusterHealth> {
  return withAdmin(options, async (admin) => {
    const { brokers } = await admin.describeCluster()
    const existing = new Set(await admin.listTopics())
    const present = topics.filter((topic) => existing.has(topic))
    if (present.length === 0) return { brokers: brokers.length, topics: topics.map(absent) }
    const { topics: described } = await admin.fetchTopicMetadata({ topics: present })
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: present.map((name) => ({ type: topicResource, name, configNames: settingNames })),
    })
    return {
      brokers: brokers.length,
      topics: topics.map((topic) => {
        const partitions = described.find(({ name }) => name === topic)?.partitions ?? []
        if (partitions.length === 0) return absent(topic)
        const entries = resources.find(({ resourceName }) => resourceName === topic)?.configEntries ?? []
        const whichOf = (holds: (one: (typeof partitions)[number]) => boolean): number[] =>
          partitions.filter(holds).map(({ partitionId }) => partitionId)
        return {
          topic,
          partitions: partitions.length,
          leaderless: whichOf(({ leader }) => leader < 0),
          underReplicated: whichOf(({ isr, replicas }) => isr.length < replicas.length),
          replicationFactor: Math.min(...partitions.map(({ replicas }) => replicas.length)),
          settings: settingsOf(entries),
        }
      }),
    }
  })
}

const absent = (topic: string): TopicHealth => ({
  ...{ topic, partitions: 0, leaderless: [], underReplicated: [], replicationFactor: 0, settings: {} },
})

/** The members of a consumer group now, and what it is doing: Stable, Empty, PreparingRebalance and the like. */
export async function readGroupHealth(
  options: KafkaOptions,
  groupId: string,
): Promise<{ state: string; members: number }> {
  return withAdmin(options, async (admin) => {
    await admin.listTopics() // a client that has seen no broker yet does not find the group's
    const { groups } = await admin.describeGroups([groupId])
    const [group] = groups
    return { state: group?.state ?? 'Dead', members: group?.members.length ?? 0 }
  })
}
