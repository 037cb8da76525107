import { connectDatabase, requireSchema, withPulse } from '@likewise/database'
import { connectAuth, listen, readGuard, runService, sourceOf } from '@likewise/service'
import { buildApp } from './app.ts'
import { firstLockWaitMs } from './carry-out.ts'
import { LikeApiConfig } from './config.ts'
import { keepKeys } from './idempotency-purge.ts'
import { startWriter } from './writer.ts'

await runService({
  name: 'like-api',
  schema: LikeApiConfig,
  async start({ config, log, telemetry, defer }) {
    const auth = await connectAuth(config, { log })
    defer('auth', () => auth.stop())
    const database = connectDatabase({
      url: config.CATALOG_DATABASE_URL,
      poolSizeMax: config.LIKE_API_POOL_SIZE,
      // Below a second with what the pool adds to it: who waits longer for a connection is answered 503.
      connectTimeoutMs: 700,
      statementTimeoutMs: config.LIKE_API_STATEMENT_TIMEOUT_MS,
      // For a table that somebody locks; a batch says itself how long it waits for a row.
      lockTimeoutMs: firstLockWaitMs,
      applicationName: 'likewise-like-api',
    })
    const db = withPulse(database)
    defer('database', () => db.stop())
    await requireSchema(db, { schema: 'catalog', variable: sourceOf(LikeApiConfig, 'CATALOG_DATABASE_URL') })
    defer('idempotency keys', keepKeys(db, log))
    // Without the pulse: a key is held until its statement is over, whatever has been answered by then.
    const writer = startWriter({
      db: database,
      telemetry,
      limits: {
        batchSizeMax: config.LIKE_API_BATCH_SIZE,
        waitingMax: config.LIKE_API_WAITING_MAX,
        answerWithinMs: config.LIKE_API_ANSWER_WITHIN_MS,
      },
    })
    defer('writer', () => writer.stop())
    const app = buildApp({ db, writer, log, telemetry, auth, guard: readGuard(config) })
    defer('http', () => app.close())
    const address = await listen(app, {
      host: config.LIKE_API_HOST,
      port: config.LIKE_API_PORT,
      variable: 'LIKE_API_PORT',
    })
    log.info({ address }, 'listening')
  },
})
