import { connectDatabase, requireSchema, withPulse } from '@likewise/database'
import { connectAuth, listen, readGuard, runService } from '@likewise/service'
import { buildApp } from './app.ts'
import { LikeApiConfig } from './config.ts'

await runService({
  name: 'like-api',
  schema: LikeApiConfig,
  async start({ config, log, telemetry, defer }) {
    const auth = await connectAuth(config, { log })
    defer('auth', () => auth.stop())
    const database = connectDatabase({
      url: config.CATALOG_DATABASE_URL,
      poolSizeMax: config.LIKE_API_POOL_SIZE,
      // Below the second in which a client hears that it did not work (I7).
      connectTimeoutMs: 800,
      statementTimeoutMs: config.LIKE_API_STATEMENT_TIMEOUT_MS,
      applicationName: 'likewise-like-api',
    })
    const db = withPulse(database)
    defer('database', () => db.stop())
    await requireSchema(db, { schema: 'catalog', variable: 'CATALOG_DATABASE_URL' })
    const app = buildApp({ db, log, telemetry, auth, guard: readGuard(config) })
    defer('http', () => app.close())
    const address = await listen(app, {
      host: config.LIKE_API_HOST,
      port: config.LIKE_API_PORT,
      variable: 'LIKE_API_PORT',
    })
    log.info({ address }, 'listening')
  },
})
