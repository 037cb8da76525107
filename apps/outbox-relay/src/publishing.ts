import { type Database, connectDatabase } from '@likewise/database'
import type { Publisher } from '@likewise/kafka'
import { type Relay, keepRing, startRelay, type watchPositions } from '@likewise/outbox'
import type { Logger, Telemetry } from '@likewise/service'
import type { Static } from 'typebox'
import type { RelayConfig } from './config.ts'
import { recordOf } from './record.ts'

type Config = Static<typeof RelayConfig>

/** Two pools: counting a backlog of millions takes seconds; renewing a lease must not, nor wait behind it. */
export function connectCatalog(config: Config): { db: Database; leaseDb: Database } {
  const common = {
    url: config.CATALOG_DATABASE_URL,
    connectTimeoutMs: 2_000,
    applicationName: 'likewise-outbox-relay',
    alwaysByIndex: true,
  }
  return {
    db: connectDatabase({ ...common, poolSizeMax: config.RELAY_POOL_SIZE, statementTimeoutMs: 30_000 }),
    leaseDb: connectDatabase({ ...common, poolSizeMax: 1, statementTimeoutMs: 2_000 }),
  }
}

interface PublishingOptions {
  config: Config
  db: Database
  leaseDb: Database
  publisher: Pick<Publisher, 'publish'>
  positions: Pick<ReturnType<typeof watchPositions>, 'note'>
  log: Logger
  telemetry: Telemetry
  fail: (error: unknown) => void
}

/** Where the outbox meets Kafka: publishes what is enqueued, for as long as the process lives. */
export function startPublishing({ config, publisher, positions, ...parts }: PublishingOptions): Relay {
  return startRelay({
    ...parts,
    url: config.CATALOG_DATABASE_DIRECT_URL ?? config.CATALOG_DATABASE_URL,
    ...(config.RELAY_SOURCE && { source: config.RELAY_SOURCE }),
    publish: async (events) => {
      positions.note(await publisher.publish(events.map((event) => recordOf(event, config.EVENT_SOURCE))))
    },
    limits: {
      pageRowsMax: config.RELAY_PAGE_ROWS,
      pageBytesMax: config.RELAY_PAGE_BYTES,
      pollMinMs: config.RELAY_POLL_MIN_MS,
      pollMaxMs: config.RELAY_POLL_MAX_MS,
      leaseMs: config.RELAY_LEASE_MS,
      backoffBaseMs: config.RELAY_BACKOFF_BASE_MS,
      backoffCapMs: config.RELAY_BACKOFF_CAP_MS,
    },
  })
}

/** Empties the outbox's old days, while this relay holds shard 0. @returns stop */
export function keepOutbox(
  config: Config,
  { relay, ...parts }: { relay: Relay; db: Database; log: Logger; telemetry: Telemetry },
): ReturnType<typeof keepRing> {
  return keepRing({
    ...parts,
    retentionDays: config.RELAY_RETENTION_DAYS,
    everyMs: config.RELAY_PURGE_EVERY_MS,
    isKeeper: () => relay.shards().includes(0),
  })
}
