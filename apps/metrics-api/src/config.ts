import { GuardConfig, durationMs, port, postgresUrl } from '@likewise/service'
import { Type } from 'typebox'

export const MetricsApiConfig = Type.Object({
  METRICS_API_HOST: Type.String({ default: '127.0.0.1', description: 'Address metrics-api listens on.' }),
  METRICS_API_PORT: port(8090, 'Port of metrics-api.'),
  METRICS_DATABASE_URL: postgresUrl(
    'Database of the consumer side (schema metrics).',
    'METRICS_API_DATABASE_URL',
  ),
  CONSUMER_GROUP: Type.String({
    default: 'metrics-consumer',
    minLength: 1,
    description: 'Kafka group, and the name under which events are remembered as handled.',
  }),
  METRICS_API_POOL_SIZE: Type.Integer({
    default: 5,
    minimum: 1,
    maximum: 100,
    description: 'Database connections of one metrics-api.',
  }),
  METRICS_API_STATEMENT_TIMEOUT_MS: durationMs(
    2_000,
    'Longest statement of metrics-api; beyond it the answer is 503.',
  ),
  METRICS_API_STREAMS_MAX: Type.Integer({
    default: 1_000,
    minimum: 0,
    maximum: 100_000,
    description: 'Live streams of one metrics-api; above it the answer is 503.',
  }),
  METRICS_API_STREAM_TICK_MS: durationMs(
    250,
    'How often the products that are watched are looked at, by one statement for all.',
  ),
  METRICS_API_STREAM_HEARTBEAT_MS: durationMs(
    15_000,
    'How often a stream without news has a comment; proxies in between must wait longer.',
  ),
  METRICS_API_STREAM_STUCK_MS: durationMs(
    30_000,
    'A client that has not read its stream for so long is cut off.',
  ),
  ...GuardConfig.properties,
})
