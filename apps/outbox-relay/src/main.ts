import { requireSchema } from '@likewise/database'
import { buildPublisher, quickenKafkajs } from '@likewise/kafka'
import { type Relay, watchPositions } from '@likewise/outbox'
import { buildHttp, checked, listen, readKafka, runService, sourceOf, version } from '@likewise/service'
import { watchBacklog } from './backlog-telemetry.ts'
import { RelayConfig } from './config.ts'
import { connectCatalog, keepOutbox, startPublishing } from './publishing.ts'

await runService({
  name: 'outbox-relay',
  schema: RelayConfig,
  async start({ config, log, telemetry, defer, fail }) {
    const { db, leaseDb } = connectCatalog(config)
    defer('database', () => db.stop())
    defer('lease database', () => leaseDb.stop())
    await requireSchema(db, { schema: 'catalog', variable: sourceOf(RelayConfig, 'CATALOG_DATABASE_URL') })

    quickenKafkajs()
    const publisher = buildPublisher({
      client: config.KAFKA_CLIENT,
      ...readKafka(config),
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
    const relay = startPublishing({ config, db, leaseDb, publisher, positions, log, telemetry, fail })
    running.relay = relay
    defer('ring', keepOutbox(config, { relay, db, log, telemetry }))
    defer('backlog', watchBacklog(db, telemetry, log))
    defer('relay', () => relay.stop())
  },
})
