import { AuthConfig, GuardConfig, durationMs, port, postgresUrl } from '@likewise/service'
import { Type } from 'typebox'

export const LikeApiConfig = Type.Object({
  LIKE_API_HOST: Type.String({ default: '127.0.0.1', description: 'Address like-api listens on.' }),
  LIKE_API_PORT: port(8080, 'Port of like-api.'),
  CATALOG_DATABASE_URL: postgresUrl('Database of the producer side (schema catalog).'),
  LIKE_API_POOL_SIZE: Type.Integer({
    default: 10,
    minimum: 1,
    maximum: 100,
    description: 'Database connections of one like-api.',
  }),
  LIKE_API_STATEMENT_TIMEOUT_MS: durationMs(
    2_000,
    'Longest statement of like-api; beyond it the answer is 503.',
  ),
  ...AuthConfig.properties,
  ...GuardConfig.properties,
})
