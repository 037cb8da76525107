import { minutesKeptHoursMin } from '@likewise/metrics'
import { retentionDaysMax } from '@likewise/outbox'
import { KafkaConfig, postgresUrl } from '@likewise/service'
import { Type } from 'typebox'

const catalogDirectUrl = Type.Optional(
  postgresUrl(
    'The same database without a pooler, for migrations and `outbox wal`; unset: CATALOG_DATABASE_URL.',
  ),
)
const user = (role: string) =>
  Type.Optional(postgresUrl(`\`likewise migrate\` lets its user log in, with what ${role} may do.`))

export const MigrateConfig = Type.Object({
  CATALOG_DATABASE_URL: postgresUrl('Database of the producer side (schema catalog).'),
  METRICS_DATABASE_URL: Type.Optional(
    postgresUrl('Database of the consumer side (schema metrics); the same one unless set.'),
  ),
  CATALOG_DATABASE_DIRECT_URL: catalogDirectUrl,
  METRICS_DATABASE_DIRECT_URL: Type.Optional(
    postgresUrl('The same database without a pooler, for migrations; unset: METRICS_DATABASE_URL.'),
  ),
  LIKE_API_DATABASE_URL: user('likewise_api'),
  RELAY_DATABASE_URL: user('likewise_relay'),
  CONSUMER_DATABASE_URL: user('likewise_consumer'),
  METRICS_API_DATABASE_URL: user('likewise_reader'),
  OPERATOR_DATABASE_URL: user('likewise_operator'),
})

export const WaitConfig = Type.Object({
  CATALOG_DATABASE_URL: Type.Optional(postgresUrl('Database of the producer side (schema catalog).')),
  METRICS_DATABASE_URL: Type.Optional(postgresUrl('Database of the consumer side (schema metrics).')),
})

export const OutboxConfig = Type.Object({
  CATALOG_DATABASE_URL: postgresUrl('Database of the producer side (schema catalog).'),
  CATALOG_DATABASE_DIRECT_URL: catalogDirectUrl,
})

export const TopicsConfig = KafkaConfig

const kafkaPassword = (user: string) =>
  Type.Optional(
    Type.String({ minLength: 1, description: `\`likewise access\` gives it to Kafka's user ${user}` }),
  )

export const AccessConfig = Type.Object({
  ...KafkaConfig.properties,
  CONSUMER_GROUP: Type.String({
    default: 'metrics-consumer',
    minLength: 1,
    description: 'Consumer to look at.',
  }),
  KAFKA_RELAY_PASSWORD: kafkaPassword('outbox-relay'),
  KAFKA_CONSUMER_PASSWORD: kafkaPassword('metrics-consumer'),
  KAFKA_TOPICS_PASSWORD: kafkaPassword('topics'),
  KAFKA_OPERATOR_PASSWORD: kafkaPassword('operator'),
  KAFKA_SCALER_PASSWORD: kafkaPassword('scaler'),
})

export const CliConfig = Type.Object({
  CATALOG_DATABASE_URL: postgresUrl('Database of the producer side (schema catalog).'),
  METRICS_DATABASE_URL: postgresUrl('Database of the consumer side (schema metrics).'),
  ...KafkaConfig.properties,
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

export const RebuildConfig = Type.Object({
  METRICS_DATABASE_URL: CliConfig.properties.METRICS_DATABASE_URL,
  ...KafkaConfig.properties,
  CONSUMER_GROUP: CliConfig.properties.CONSUMER_GROUP,
  CONSUMER_DEDUP_HORIZON_DAYS: DeadLettersConfig.properties.CONSUMER_DEDUP_HORIZON_DAYS,
  CONSUMER_MINUTES_KEPT_HOURS: Type.Integer({
    default: 48,
    minimum: minutesKeptHoursMin,
    maximum: 8_760,
    description: 'That of the consumer: a rebuild brings what is older to its hour.',
  }),
  CONSUMER_HOURS_KEPT_DAYS: Type.Integer({
    default: 90,
    minimum: 1,
    maximum: 36_500,
    description: 'That of the consumer: a rebuild brings what is older to its day.',
  }),
})

export const SnapshotConfig = Type.Object({
  METRICS_DATABASE_URL: CliConfig.properties.METRICS_DATABASE_URL,
  CONSUMER_GROUP: CliConfig.properties.CONSUMER_GROUP,
})

export const DoctorConfig = Type.Object({
  ...CliConfig.properties,
  CONSUMER_DEDUP_HORIZON_DAYS: DeadLettersConfig.properties.CONSUMER_DEDUP_HORIZON_DAYS,
  RELAY_RETENTION_DAYS: Type.Integer({
    default: 7,
    minimum: 1,
    maximum: retentionDaysMax,
    description: 'That of the relay: the topic should hold as much.',
  }),
})
