import { sql } from '@likewise/database'
import { ownKafka, ownPostgres } from './faults/own-servers.ts'
import { type OwnServers, type System, startSystem } from './system.ts'

type Postgres = Awaited<ReturnType<typeof ownPostgres>>['server']

/** The whole system with its two sides on two PostgreSQL servers, neither of which has what is the other's. */
export interface OnTwoServers {
  readonly system: System
  readonly servers: OwnServers
  /** With schema catalog. */
  readonly producer: Postgres
  /** With schema metrics. */
  readonly consumer: Postgres
  stop(): Promise<void>
}

export async function startOnTwoServers(): Promise<OnTwoServers> {
  const [kafka, producer, consumer] = await Promise.all([ownKafka(), ownPostgres(), ownPostgres()])
  const servers = {
    CATALOG_DATABASE_URL: producer.server.url,
    METRICS_DATABASE_URL: consumer.server.url,
    KAFKA_BROKERS: kafka.server.brokers,
  }
  const system = await startSystem({}, servers)
  // Each has both schemas after the migration. Whoever asks the wrong server shall not find what it looks for.
  await system.catalog.execute(sql`drop schema metrics cascade`)
  await system.metrics.execute(sql`drop schema catalog cascade`)
  return {
    ...{ system, servers, producer: producer.server, consumer: consumer.server },
    async stop() {
      await system.stop()
      await Promise.all([kafka.remove(), producer.remove(), consumer.remove()])
    },
  }
}
