import { keptDays } from '@likewise/inbox'
import { minutesKeptHoursMin } from '@likewise/metrics'
import { KafkaConfig, durationMs, port, postgresUrl } from '@likewise/service'
import { Type } from 'typebox'

export const ConsumerConfig = Type.Object({
  METRICS_DATABASE_URL: postgresUrl(
    'Database of the consumer side (schema metrics).',
    'CONSUMER_DATABASE_URL',
  ),
  ...KafkaConfig.properties,
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
    description:
      'Large batches one consumer handles at the same time, each in a transaction. Small ones share one.',
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
  CONSUMER_PURGE_EVERY_MS: durationMs(
    3_600_000,
    'How often ids of handled events that are 31 days old are removed, a day of them at a time, and resolved dead letters.',
  ),
  CONSUMER_LETTERS_KEPT_DAYS: Type.Integer({
    default: 90,
    minimum: keptDays,
    maximum: 36_500,
    description:
      'Dead letters stay for so many days after they were redriven or discarded, and for as long as the topic holds their records.',
  }),
  CONSUMER_MINUTES_KEPT_HOURS: Type.Integer({
    default: 48,
    minimum: minutesKeptHoursMin,
    maximum: 8_760,
    description: 'Likes per minute older than this become likes per hour.',
  }),
  CONSUMER_HOURS_KEPT_DAYS: Type.Integer({
    default: 90,
    minimum: 1,
    maximum: 36_500,
    description: 'Likes per hour older than this become likes per day, which stay.',
  }),
  CONSUMER_ROLL_UP_EVERY_MS: durationMs(3_600_000, 'How often each consumer rolls up what is older.'),
  CONSUMER_COUNTED_THROUGH_EVERY_MS: durationMs(
    1_000,
    'How often each consumer notes how far the counts have got (countedThrough of metrics-api).',
  ),
})
