import { connectDatabase, requireSchema } from '@likewise/database'
import { topics } from '@likewise/events'
import { keepHandled } from '@likewise/inbox'
import { quickenKafkajs } from '@likewise/kafka'
import { keepRolledUp } from '@likewise/metrics'
import { buildHttp, checked, listen, readKafka, runService, sourceOf, version } from '@likewise/service'
import { ConsumerConfig } from './config.ts'
import { startConsuming } from './consumer.ts'
import { startCopying } from './dead-letter-copy.ts'
import { keepDeadLetters } from './dead-letter-retention.ts'
import { watchDeadLetters } from './dead-letter-telemetry.ts'
import { keepCountedThrough } from './counted-through.ts'
import { checkRetention } from './retention.ts'

await runService({
  name: 'metrics-consumer',
  schema: ConsumerConfig,
  async start({ config, log, telemetry, defer, fail }) {
    quickenKafkajs()
    const db = connectDatabase({
      url: config.METRICS_DATABASE_URL,
      poolSizeMax: config.CONSUMER_POOL_SIZE,
      connectTimeoutMs: 2_000,
      statementTimeoutMs: 10_000,
      applicationName: 'likewise-metrics-consumer',
    })
    defer('database', () => db.stop())
    await requireSchema(db, { schema: 'metrics', variable: sourceOf(ConsumerConfig, 'METRICS_DATABASE_URL') })

    const [consumer, topic] = [config.CONSUMER_GROUP, topics.catalogEvents]
    const kafka = {
      ...readKafka(config),
      clientId: 'likewise-metrics-consumer',
      requestTimeoutMs: 10_000,
      log,
    }
    const subscriber = startConsuming({ config, db, kafka, log, telemetry, fail })
    const purging = { db, everyMs: config.CONSUMER_PURGE_EVERY_MS, log, telemetry }
    defer('ring', keepHandled(purging))
    const keptDays = config.CONSUMER_LETTERS_KEPT_DAYS
    defer('resolved dead letters', keepDeadLetters({ ...purging, consumer, topic, keptDays, kafka }))
    const horizonDays = config.CONSUMER_DEDUP_HORIZON_DAYS
    defer('retention', checkRetention({ kafka, topic, horizonDays, log }))
    defer('subscriber', () => subscriber.stop())
    defer('dead-letter copy', startCopying({ db, consumer, kafka, subscriber, telemetry }))
    defer('dead letters', watchDeadLetters(db, consumer, { telemetry, log }))

    const everyMs = config.CONSUMER_ROLL_UP_EVERY_MS
    const noteEveryMs = config.CONSUMER_COUNTED_THROUGH_EVERY_MS
    defer('counted through', keepCountedThrough({ db, consumer, topic, kafka, everyMs: noteEveryMs }))
    const [minutesKeptHours, hoursKeptDays] = [
      config.CONSUMER_MINUTES_KEPT_HOURS,
      config.CONSUMER_HOURS_KEPT_DAYS,
    ]
    defer('roll-up', keepRolledUp({ db, minutesKeptHours, hoursKeptDays, everyMs, log, telemetry }))

    const ready = async () => ({
      database: await checked(db.ping()),
      kafka: subscriber.fault() ?? (true as const),
    })
    const http = buildHttp({ log, telemetry, service: 'metrics-consumer', version, ready })
    defer('probes', () => http.close())
    await listen(http, { host: config.CONSUMER_HOST, port: config.CONSUMER_PORT, variable: 'CONSUMER_PORT' })
  },
})
