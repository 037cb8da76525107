import type { Database } from '@likewise/database'
import { type Http, type Logger, type Telemetry, buildHttp, checked, version } from '@likewise/service'
import { addBatchRoute } from './batch-route.ts'
import { docs } from './docs.ts'
import { addLikeRoutes } from './like-routes.ts'
import type { Writer } from './writer.ts'

export interface AppParts {
  db: Database
  writer: Writer
  log: Logger
  telemetry: Telemetry
}

/** The write side over REST. No `listen`: tests use `inject`. */
export function buildApp({ db, writer, log, telemetry }: AppParts): Http {
  const app = buildHttp({
    log,
    telemetry,
    service: 'like-api',
    version,
    ready: async () => ({ database: await checked(db.ping()) }),
    docs,
    endpoints: [
      { method: 'POST', path: '/api/likes', description: 'Like: {"userId":1,"productId":100}' },
      {
        method: 'POST',
        path: '/api/likes/batch',
        description: 'Many likes: {"items":[{"userId":1,"productId":100}]}',
      },
      { method: 'PUT', path: '/api/products/{productId}/likes/{userId}', description: 'Like' },
      { method: 'DELETE', path: '/api/products/{productId}/likes/{userId}', description: 'Unlike' },
      {
        method: 'GET',
        path: '/api/products/{productId}/likes/{userId}',
        description: 'Whether the like is there',
      },
    ],
  })
  addLikeRoutes(app, { db, writer })
  addBatchRoute(app, writer)
  return app
}
