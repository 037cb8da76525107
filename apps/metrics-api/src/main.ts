import { connectDatabase, requireSchema, withPulse } from '@likewise/database'
import { listen, readGuard, runService, sourceOf } from '@likewise/service'
import { buildApp } from './app.ts'
import { MetricsApiConfig } from './config.ts'

await runService({
  name: 'metrics-api',
  schema: MetricsApiConfig,
  async start({ config, log, telemetry, defer }) {
    const database = connectDatabase({
      url: config.METRICS_DATABASE_URL,
      poolSizeMax: config.METRICS_API_POOL_SIZE,
      connectTimeoutMs: 800,
      statementTimeoutMs: config.METRICS_API_STATEMENT_TIMEOUT_MS,
      applicationName: 'likewise-metrics-api',
    })
    const db = withPulse(database)
    defer('database', () => db.stop())
    await requireSchema(db, {
      schema: 'metrics',
      variable: sourceOf(MetricsApiConfig, 'METRICS_DATABASE_URL'),
    })
    const streams = {
      tickMs: config.METRICS_API_STREAM_TICK_MS,
      heartbeatMs: config.METRICS_API_STREAM_HEARTBEAT_MS,
      stuckMsMax: config.METRICS_API_STREAM_STUCK_MS,
      streamsMax: config.METRICS_API_STREAMS_MAX,
    }
    const consumer = config.CONSUMER_GROUP
    const app = buildApp({ db, consumer, log, telemetry, streams, guard: readGuard(config) })
    defer('http', () => app.close())
    const address = await listen(app, {
      host: config.METRICS_API_HOST,
      port: config.METRICS_API_PORT,
      variable: 'METRICS_API_PORT',
    })
    log.info({ address }, 'listening')
  },
})
