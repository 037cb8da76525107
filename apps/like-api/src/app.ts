import type { Database } from '@likewise/database'
import {
  type Auth,
  type Guard,
  type Http,
  type Logger,
  type Telemetry,
  buildHttp,
  checked,
  defaultGuard,
  trustedAuth,
  version,
} from '@likewise/service'
import { addBatchRoute } from './batch-route.ts'
import { docs } from './docs.ts'
import { addLikeRoutes } from './like-routes.ts'
import type { Writer } from './writer.ts'

export interface AppParts {
  db: Database
  writer: Writer
  log: Logger
  telemetry: Telemetry
  guard?: Guard
  auth?: Auth
}

/** The write side over REST. No `listen`: tests use `inject`. */
export function buildApp(parts: AppParts): Http {
  const { db, writer, log, telemetry, guard = defaultGuard, auth = trustedAuth } = parts
  const app = buildHttp({
    log,
    telemetry,
    service: 'like-api',
    version,
    guard,
    auth,
    ready: async () => {
      const database = checked(db.ping())
      if (!auth.check) return { database: await database }
      const identity = checked(auth.check())
      return { database: await database, identity: await identity }
    },
    docs,
  })
  addLikeRoutes(app, { db, writer })
  addBatchRoute(app, writer)
  return app
}
