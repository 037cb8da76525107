import { connectDatabase, requireSchema } from '@likewise/database'
import { topics } from '@likewise/events'
import { keepHandled } from '@likewise/inbox'
import { subscribe } from '@likewise/kafka'
import { keepRolledUp } from '@likewise/metrics'
import { buildHttp, checked, listen, parseBrokers, runService, version } from '@likewise/service'
import { ConsumerConfig } from './config.ts'
import { buildConsumer } from './consumer.ts'
import { startCopying } from './dead-letter-copy.ts'
import { watchDeadLetters } from './dead-letter-telemetry.ts'
import { keepCountedThrough } from './counted-through.ts'
import { checkRetention } from './retention.ts'

const dayMs = 86_400_000
// All that a fetch brings: the handler puts small batches into one transaction, and lets the large ones wait their turn.
const partitionsAtOnceMax = 64

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
      transactionsAtOnceMax: config.CONSUMER_PARTITIONS_AT_ONCE,
      log,
      telemetry,
    })
    const kafka = {
      ...{ brokers: parseBrokers(config.KAFKA_BROKERS), clientId: 'likewise-metrics-consumer' },
      ...{ requestTimeoutMs: 10_000, log },
    }
    const subscriber = subscribe({
      ...kafka,
      groupId: config.CONSUMER_GROUP,
      topic: topics.catalogEvents,
      partitionsAtOnceMax,
      onBatch,
      watchdogMs: config.CONSUMER_WATCHDOG_MS,
      telemetry,
      fail,
    })
    const everyMs = config.CONSUMER_PURGE_EVERY_MS
    defer('ring', keepHandled({ db, everyMs, log, telemetry }))
    const horizonDays = config.CONSUMER_DEDUP_HORIZON_DAYS
    defer('retention', checkRetention({ kafka, topic: topics.catalogEvents, horizonDays, log }))
    defer('subscriber', () => subscriber.stop())
    const consumer = config.CONSUMER_GROUP
    defer('dead-letter copy', startCopying({ db, consumer, kafka, subscriber, telemetry }))
    defer('dead letters', watchDeadLetters(db, consumer, { telemetry, log }))

    const countedThrough = { topic: topics.catalogEvents, everyMs: config.CONSUMER_COUNTED_THROUGH_EVERY_MS }
    defer('counted through', keepCountedThrough({ db, consumer, kafka, ...countedThrough }))
    const stopRollUp = keepRolledUp({
      db,
      minutesKeptHours: config.CONSUMER_MINUTES_KEPT_HOURS,
      hoursKeptDays: config.CONSUMER_HOURS_KEPT_DAYS,
      everyMs: config.CONSUMER_ROLL_UP_EVERY_MS,
      log,
      telemetry,
    })
    defer('roll-up', stopRollUp)

    const ready = async () => ({
      database: await checked(db.ping()),
      kafka: subscriber.fault() ?? (true as const),
    })
    const http = buildHttp({ log, telemetry, service: 'metrics-consumer', version, ready, endpoints: [] })
    defer('probes', () => http.close())
    await listen(http, { host: config.CONSUMER_HOST, port: config.CONSUMER_PORT, variable: 'CONSUMER_PORT' })
  },
})
