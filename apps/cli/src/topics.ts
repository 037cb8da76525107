import { topicPlans } from '@likewise/events'
import { type KafkaOptions, ensureTopics } from '@likewise/kafka'
import type { Say } from './catalog.ts'

/** Makes the topics that are missing; run again, it changes nothing. */
export async function makeTopics(
  kafka: KafkaOptions,
  replicationFactor: number | undefined,
  say: Say,
): Promise<void> {
  const replication = replicationFactor === undefined ? {} : { replicationFactor }
  const made = await ensureTopics(
    kafka,
    topicPlans.map((plan) => ({ ...plan, ...replication })),
  )
  for (const { topic, partitions } of topicPlans) {
    say(made.includes(topic) ? `made ${topic} with ${partitions} partitions` : `${topic} is there`)
  }
}
