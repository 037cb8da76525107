import type { Database } from '@likewise/database'
import { readProductMetrics } from '@likewise/metrics'
import { type Http, type Logger, type Telemetry, buildHttp, checked, version } from '@likewise/service'
import { Type } from 'typebox'

const Id = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })
const ProductPath = Type.Object({ productId: Id })
const MetricsAnswer = Type.Object({
  productId: Id,
  likeCount: Type.Integer(),
  updatedAt: Type.Union([Type.String({ format: 'date-time' }), Type.Null()]),
})

/** The read side over REST. No `listen`: tests use `inject`. */
export function buildApp({ db, log, telemetry }: { db: Database; log: Logger; telemetry: Telemetry }): Http {
  const app = buildHttp({
    log,
    telemetry,
    service: 'metrics-api',
    version,
    ready: async () => ({ database: await checked(db.ping()) }),
    endpoints: [
      { method: 'GET', path: '/api/products/{productId}/metrics', description: 'Like count of a product' },
    ],
  })

  app.get<{ Params: { productId: number } }>(
    '/api/products/:productId/metrics',
    { schema: { params: ProductPath, response: { 200: MetricsAnswer } } },
    (request) => readProductMetrics(db, request.params.productId),
  )

  return app
}
