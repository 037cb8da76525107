import { retentionDaysMax } from '@likewise/outbox'
import { KafkaConfig, durationMs, port, postgresUrl } from '@likewise/service'
import { Type } from 'typebox'

const count = (fallback: number, maximum: number, description: string) =>
  Type.Integer({ default: fallback, minimum: 1, maximum, description })

// Pool and page: 100,000 events are drained as fast as with 8 connections and 1,000 rows, in 141 instead of 162 MB.
export const RelayConfig = Type.Object({
  CATALOG_DATABASE_URL: postgresUrl('Database of the producer side (schema catalog).', 'RELAY_DATABASE_URL'),
  ...KafkaConfig.properties,
  KAFKA_CLIENT: Type.Union([Type.Literal('kafkajs'), Type.Literal('platformatic')], {
    default: 'kafkajs',
    description: 'Library the relay sends with; both give the same records in the same partitions.',
  }),
  RELAY_HOST: Type.String({ default: '127.0.0.1', description: "Address of the relay's probes." }),
  RELAY_PORT: port(9100, "Port of the relay's probes."),
  RELAY_POOL_SIZE: count(4, 100, 'Database connections of one relay.'),
  RELAY_PAGE_ROWS: count(500, 10_000, 'Most events in one send to Kafka.'),
  RELAY_PAGE_BYTES: count(
    900_000,
    50_000_000,
    "Most bytes in one send to Kafka, about; the broker's message.max.bytes is 1 MB unless set.",
  ),
  RELAY_POLL_MIN_MS: durationMs(2, 'Shortest wait between two polls, while there is work.'),
  // Idle, with all shards: 2.4 % of a core with 250 ms, 1 % with 1 s.
  RELAY_POLL_MAX_MS: durationMs(
    1_000,
    'Longest wait between two polls, when idle for seconds; also the latency of the first event after that.',
  ),
  RELAY_SEND_LIMIT_MS: durationMs(5_000, 'A send to Kafka without an answer for so long is tried again.'),
  RELAY_LEASE_MS: durationMs(5_000, 'A relay silent for so long loses its shards; renewed at a third of it.'),
  RELAY_BACKOFF_BASE_MS: durationMs(100, 'First pause after a failed send; it doubles, with jitter.'),
  RELAY_BACKOFF_CAP_MS: durationMs(10_000, 'Longest pause between two tries. There is no last try.'),
  RELAY_SOURCE: Type.Optional(
    Type.Union([Type.Literal('poll'), Type.Literal('wal')], {
      description:
        'How the outbox should be published; not ready where it is another way (`likewise outbox wal`).',
    }),
  ),
  RELAY_RETENTION_DAYS: Type.Integer({
    default: 7,
    minimum: 1,
    maximum: retentionDaysMax,
    description: 'Days that published events stay in the outbox, for a republish. The ring has 10.',
  }),
  RELAY_PURGE_EVERY_MS: durationMs(3_600_000, 'How often the holder of shard 0 empties what is older.'),
  EVENT_SOURCE: Type.String({ default: '/like-api', minLength: 1, description: 'ce_source of the events.' }),
})
