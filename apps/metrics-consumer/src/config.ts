import { brokers, durationMs, port, postgresUrl } from '@likewise/service'
import { Type } from 'typebox'

export const ConsumerConfig = Type.Object({
  METRICS_DATABASE_URL: postgresUrl('Database of the consumer side (schema metrics).'),
  KAFKA_BROKERS: brokers(),
  CONSUMER_HOST: Type.String({ default: '127.0.0.1', description: "Address of the consumer's probes." }),
  CONSUMER_PORT: port(9200, "Port of the consumer's probes."),
  CONSUMER_GROUP: Type.String({
    default: 'metrics-consumer',
    minLength: 1,
    description: 'Kafka group, and the name under which events are remembered as handled.',
  }),
  CONSUMER_POOL_SIZE: Type.Integer({
    default: 5,
    minimum: 2,
    maximum: 100,
    description: 'Database connections of one consumer.',
  }),
  CONSUMER_PARTITIONS_AT_ONCE: Type.Integer({
    default: 3,
    minimum: 1,
    maximum: 64,
    description: 'Partitions one consumer handles at the same time.',
  }),
  CONSUMER_WATCHDOG_MS: durationMs(
    60_000,
    'A Kafka client that gets nowhere for so long, although Kafka answers, is replaced; after three of them the process ends. Below 40000, one that only waits for a rebalance may be taken for it.',
  ),
  CONSUMER_DEDUP_HORIZON_DAYS: Type.Integer({
    default: 30,
    minimum: 1,
    maximum: 30,
    description:
      'Events older than this many days are parked as too_old, since their duplicates could not be told.',
  }),
})
