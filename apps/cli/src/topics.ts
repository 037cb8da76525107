import { InvalidArgumentError } from 'commander'
import { catalogEventsPartitions, topicPlans, topics } from '@likewise/events'
import { type KafkaOptions, addPartitions, ensureTopics } from '@likewise/kafka'
import type { Say } from './catalog.ts'

interface Wanted {
  replicationFactor?: number
  /** Of catalog-events. */
  partitions?: number
}

/** Makes the topics that are missing, and adds partitions where more are asked for; run again, it changes nothing. */
export async function makeTopics(
  kafka: KafkaOptions,
  { replicationFactor, partitions }: Wanted,
  say: Say,
): Promise<void> {
  const replication = replicationFactor === undefined ? {} : { replicationFactor }
  const made = await ensureTopics(
    kafka,
    topicPlans.map((plan) => ({ ...plan, ...replication })),
  )
  for (const { topic, partitions: planned } of topicPlans) {
    say(made.includes(topic) ? `made ${topic} with ${planned} partitions` : `${topic} is there`)
  }
  if (partitions === undefined) return
  const before = await addPartitions(kafka, topics.catalogEvents, partitions)
  say(
    `${topics.catalogEvents} has ${partitions} partitions${before === partitions ? '' : `, before ${before}`}`,
  )
}

const partitionsMax = 1_200

/** A shard of the outbox feeds its own partitions and no other only where there are a multiple of the shards. */
export function manyPartitions(text: string): number {
  const count = Number(text)
  const isMultiple = /^\d{1,4}$/.test(text) && count > 0 && count % catalogEventsPartitions === 0
  if (isMultiple && count <= partitionsMax) return count
  throw new InvalidArgumentError(
    `It must be a multiple of ${String(catalogEventsPartitions)}, ${String(partitionsMax)} at most.`,
  )
}
