/** Topic names are permanent: consumers keep offsets under them. */
export const topics = { catalogEvents: 'catalog-events', deadLetters: 'catalog-events-dlq' } as const

/** A multiple of the relay's shards, so that a shard feeds its own partitions and no other. */
export const catalogEventsPartitions = 12

/** 14 days: twice the outbox's own retention, so a consumer that slept for a week still finds its events. */
const catalogEventsRetentionMs = 14 * 24 * 60 * 60 * 1000

/** Kafka's own limit of a record (message.max.bytes), and room for the headers that a copy has more than its record. */
const deadLetterBytesMax = 1_048_588 + 65_536

/** What has to be made before anything runs; how often it is replicated is the brokers' business. */
export const topicPlans = [
  { topic: topics.catalogEvents },
  { topic: topics.deadLetters, maxMessageBytes: deadLetterBytesMax },
].map((plan) => ({ ...plan, partitions: catalogEventsPartitions, retentionMs: catalogEventsRetentionMs }))
