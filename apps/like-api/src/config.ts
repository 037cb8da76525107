import { AuthConfig, GuardConfig, durationMs, port, postgresUrl } from '@likewise/service'
import { Type } from 'typebox'

export const LikeApiConfig = Type.Object({
  LIKE_API_HOST: Type.String({ default: '127.0.0.1', description: 'Address like-api listens on.' }),
  LIKE_API_PORT: port(8080, 'Port of like-api.'),
  CATALOG_DATABASE_URL: postgresUrl(
    'Database of the producer side (schema catalog).',
    'LIKE_API_DATABASE_URL',
  ),
  LIKE_API_POOL_SIZE: Type.Integer({
    default: 10,
    minimum: 5,
    maximum: 100,
    description: 'Database connections of one like-api: two batches, two that wait for a lock, and reads.',
  }),
  LIKE_API_BATCH_SIZE: Type.Integer({
    default: 256,
    minimum: 1,
    maximum: 5_000,
    description:
      'Most likes and unlikes in one transaction. What waits goes together; nobody waits for it to fill.',
  }),
  LIKE_API_WAITING_MAX: Type.Integer({
    default: 5_000,
    minimum: 500,
    maximum: 1_000_000,
    description:
      'Likes and unlikes that may wait for a transaction in one like-api; above it the answer is 503.',
  }),
  LIKE_API_ANSWER_WITHIN_MS: durationMs(
    900,
    'A like that has no outcome after so long, and at most 100 ms more, is answered 503.',
  ),
  LIKE_API_STATEMENT_TIMEOUT_MS: durationMs(
    2_000,
    'Longest statement of like-api; beyond it the answer is 503.',
  ),
  ...AuthConfig.properties,
  ...GuardConfig.properties,
})
