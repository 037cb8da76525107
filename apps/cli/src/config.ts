import { brokers, postgresUrl } from '@likewise/service'
import { Type } from 'typebox'

export const MigrateConfig = Type.Object({
  CATALOG_DATABASE_URL: postgresUrl('Database of the producer side (schema catalog).'),
  METRICS_DATABASE_URL: Type.Optional(
    postgresUrl('Database of the consumer side (schema metrics); the same one unless set.'),
  ),
})

export const OutboxConfig = Type.Object({
  CATALOG_DATABASE_URL: postgresUrl('Database of the producer side (schema catalog).'),
})

export const TopicsConfig = Type.Object({ KAFKA_BROKERS: brokers() })

export const CliConfig = Type.Object({
  CATALOG_DATABASE_URL: postgresUrl('Database of the producer side (schema catalog).'),
  METRICS_DATABASE_URL: postgresUrl('Database of the consumer side (schema metrics).'),
  KAFKA_BROKERS: brokers(),
  CONSUMER_GROUP: Type.String({
    default: 'metrics-consumer',
    minLength: 1,
    description: 'Consumer to look at.',
  }),
})

export const DeadLettersConfig = Type.Object({
  METRICS_DATABASE_URL: CliConfig.properties.METRICS_DATABASE_URL,
  CONSUMER_GROUP: CliConfig.properties.CONSUMER_GROUP,
  CONSUMER_DEDUP_HORIZON_DAYS: Type.Integer({
    default: 30,
    minimum: 1,
    maximum: 30,
    description: 'That of the consumer: a dead letter that is older is redriven by force only.',
  }),
})
