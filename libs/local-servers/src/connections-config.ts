import { brokers, postgresUrl } from '@likewise/service'
import { Type } from 'typebox'

/** What `<home>/env` of a running stack holds, and the environment may say instead. */
export const ConnectionsConfig = Type.Object({
  CATALOG_DATABASE_URL: postgresUrl('Database of the producer side (schema catalog).'),
  METRICS_DATABASE_URL: postgresUrl('Database of the consumer side (schema metrics).'),
  KAFKA_BROKERS: brokers(),
})
