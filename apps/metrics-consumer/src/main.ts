import { connectDatabase, requireSchema } from '@likewise/database'
import { topics } from '@likewise/events'
import { subscribe } from '@likewise/kafka'
import { buildHttp, checked, listen, parseBrokers, runService, version } from '@likewise/service'
import { ConsumerConfig } from './config.ts'
import { buildConsumer } from './consumer.ts'

const dayMs = 86_400_000

await runService({
  name: 'metrics-consumer',
  schema: ConsumerConfig,
  async start({ config, log, telemetry, defer, fail }) {
    const db = connectDatabase({
      url: config.METRICS_DATABASE_URL,
      poolSizeMax: config.CONSUMER_POOL_SIZE,
      connectTimeoutMs: 2_000,
      statementTimeoutMs: 10_000,
      applicationName: 'likewise-metrics-consumer',
    })
    defer('database', () => db.stop())
    await requireSchema(db, { schema: 'metrics', variable: 'METRICS_DATABASE_URL' })

    const onBatch = buildConsumer({
      db,
      consumer: config.CONSUMER_GROUP,
      horizon: { dedupHorizonMs: config.CONSUMER_DEDUP_HORIZON_DAYS * dayMs, futureMaxMs: dayMs },
      log,
      telemetry,
    })
    const subscriber = subscribe({
      brokers: parseBrokers(config.KAFKA_BROKERS),
      clientId: 'likewise-metrics-consumer',
      requestTimeoutMs: 10_000,
      groupId: config.CONSUMER_GROUP,
      topic: topics.catalogEvents,
      partitionsAtOnceMax: config.CONSUMER_PARTITIONS_AT_ONCE,
      onBatch,
      watchdogMs: config.CONSUMER_WATCHDOG_MS,
      telemetry,
      log,
      fail,
    })
    defer('subscriber', () => subscriber.stop())

    const ready = async () => ({
      database: await checked(db.ping()),
      kafka: subscriber.fault() ?? (true as const),
    })
    const http = buildHttp({ log, telemetry, service: 'metrics-consumer', version, ready, endpoints: [] })
    defer('probes', () => http.close())
    await listen(http, { host: config.CONSUMER_HOST, port: config.CONSUMER_PORT, variable: 'CONSUMER_PORT' })
  },
})
