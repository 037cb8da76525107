import type { Database } from '@likewise/database'
import {
  type Auth,
  type Http,
  type Logger,
  buildLogger,
  buildTelemetry,
  trustedAuth,
} from '@likewise/service'
import { unhurriedGuard } from '@likewise/service/testing'
import { buildApp } from './app.ts'
import { type Writer, type WriterLimits, startWriter } from './writer.ts'

export interface TestApp {
  readonly app: Http
  readonly writer: Writer
  stop(): Promise<void>
}

const silent = buildLogger({ service: 'test', level: 'silent' })
const defaultLimits: WriterLimits = { batchSizeMax: 256, waitingMax: 5_000, answerWithinMs: 10_000 }

/** like-api without a port, on a database of the test's. Its writes have the time a busy machine needs. */
export function startTestApp(
  db: Database,
  limits: Partial<WriterLimits> = {},
  { auth = trustedAuth, log = silent }: { auth?: Auth; log?: Logger } = {},
): TestApp {
  const telemetry = buildTelemetry('test')
  const writer = startWriter({ db, telemetry, limits: { ...defaultLimits, ...limits } })
  const app = buildApp({ db, writer, log, telemetry, auth, guard: unhurriedGuard })
  return {
    app,
    writer,
    async stop() {
      await app.close()
      await writer.stop()
    },
  }
}
