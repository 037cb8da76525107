import { connectDatabase, requireSchema } from '@likewise/database'
import { buildPublisher } from '@likewise/kafka'
import { type Relay, keepRing, startRelay, watchPositions } from '@likewise/outbox'
import { buildHttp, checked, listen, parseBrokers, runService, version } from '@likewise/service'
import { watchBacklog } from './backlog-telemetry.ts'
import { RelayConfig } from './config.ts'
import { recordOf } from './record.ts'

await runService({
  name: 'outbox-relay',
  schema: RelayConfig,
  async start({ config, log, telemetry, defer, fail }) {
    const [url, connectTimeoutMs] = [config.CATALOG_DATABASE_URL, 2_000]
    const applicationName = 'likewise-outbox-relay'
    // Counting a backlog of millions takes seconds; renewing a lease must not, nor wait behind it.
    const pages = { poolSizeMax: config.RELAY_POOL_SIZE, statementTimeoutMs: 30_000 }
    const leases = { poolSizeMax: 1, statementTimeoutMs: 2_000 }
    const db = connectDatabase({ url, connectTimeoutMs, applicationName, ...pages })
    defer('database', () => db.stop())
    const leaseDb = connectDatabase({ url, connectTimeoutMs, applicationName, ...leases })
    defer('lease database', () => leaseDb.stop())
    await requireSchema(db, { schema: 'catalog', variable: 'CATALOG_DATABASE_URL' })

    const publisher = buildPublisher({
      client: config.KAFKA_CLIENT,
      brokers: parseBrokers(config.KAFKA_BROKERS),
      clientId: 'likewise-outbox-relay',
      log,
      requestTimeoutMs: config.RELAY_SEND_LIMIT_MS,
      sendLimitMs: config.RELAY_SEND_LIMIT_MS,
    })
    defer('publisher', () => publisher.stop())

    const running: { relay?: Relay } = {}
    const ready = async () => ({
      outbox: running.relay === undefined ? 'starting' : (running.relay.fault()?.message ?? (true as const)),
      database: await checked(db.ping()),
      kafka: await checked(publisher.ping()),
    })
    const http = buildHttp({ log, telemetry, service: 'outbox-relay', version, ready, endpoints: [] })
    defer('probes', () => http.close())
    await listen(http, { host: config.RELAY_HOST, port: config.RELAY_PORT, variable: 'RELAY_PORT' })

    const positions = watchPositions({ db, log, telemetry, everyMs: 10_000 })
    defer('positions', () => positions.stop())
    const relay = startRelay({
      db,
      url,
      ...(config.RELAY_SOURCE && { source: config.RELAY_SOURCE }),
      leaseDb,
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
      log,
      telemetry,
      fail,
    })
    running.relay = relay
    const ring = {
      db,
      retentionDays: config.RELAY_RETENTION_DAYS,
      everyMs: config.RELAY_PURGE_EVERY_MS,
      isKeeper: () => relay.shards().includes(0),
    }
    defer('ring', keepRing({ ...ring, log, telemetry }))
    defer('backlog', watchBacklog(db, telemetry, log))
    defer('relay', () => relay.stop())
  },
})
