import { durationMs, port, postgresUrl } from '@likewise/service'
import { Type } from 'typebox'

export const MetricsApiConfig = Type.Object({
  METRICS_API_HOST: Type.String({ default: '127.0.0.1', description: 'Address metrics-api listens on.' }),
  METRICS_API_PORT: port(8090, 'Port of metrics-api.'),
  METRICS_DATABASE_URL: postgresUrl('Database of the consumer side (schema metrics).'),
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
})
