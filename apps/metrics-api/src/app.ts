import type { Database } from '@likewise/database'
import {
  type TrendingWindow,
  pointsMax,
  pointsOf,
  readHistory,
  readLikeCountAsOf,
  readProductMetrics,
  readTrending,
} from '@likewise/metrics'
import {
  Failure,
  type Guard,
  type Http,
  type Logger,
  type Telemetry,
  buildHttp,
  checked,
  defaultGuard,
  openEventStream,
  version,
} from '@likewise/service'
import type { Static } from 'typebox'
import { buildLiveMetrics } from './live-metrics.ts'
import {
  HistoryAnswer,
  HistoryQuery,
  MetricsAnswer,
  MetricsQuery,
  ProductPath,
  TrendingAnswer,
  TrendingQuery,
  trendingProductsMax,
} from './schemas.ts'
import { shareTrending } from './shared-trending.ts'

export interface AppOptions {
  db: Database
  log: Logger
  telemetry: Telemetry
  streams: StreamLimits
  guard?: Guard
}

export interface StreamLimits {
  tickMs: number
  heartbeatMs: number
  stuckMsMax: number
  streamsMax: number
}

const endpoints = [
  {
    method: 'GET',
    path: '/api/products/{productId}/metrics',
    description: 'Like count of a product; ?asOf= as of then',
  },
  {
    method: 'GET',
    path: '/api/products/{productId}/metrics/stream',
    description: 'The same, live (server-sent events)',
  },
  {
    method: 'GET',
    path: '/api/products/{productId}/history',
    description: 'Likes and unlikes in steps of time',
  },
  { method: 'GET', path: '/api/products/trending', description: 'Products that gain most likes' },
]

/** For a client whose stream ended. */
const retryMs = 2_000

/** The read side over REST. No `listen`: tests use `inject`. */
export function buildApp({ db, log, telemetry, streams, guard = defaultGuard }: AppOptions): Http {
  const app = buildHttp({
    log,
    telemetry,
    service: 'metrics-api',
    version,
    guard,
    ready: async () => ({ database: await checked(db.ping()) }),
    endpoints,
  })
  addMetrics(app, db)
  addHistory(app, db)
  addTrending(app, db)
  addStream(app, { db, log, telemetry, streams })
  return app
}

type OfProduct<Query = unknown> = { Params: Static<typeof ProductPath>; Querystring: Query }

function addMetrics(app: Http, db: Database): void {
  app.get<OfProduct<Static<typeof MetricsQuery>>>(
    '/api/products/:productId/metrics',
    { schema: { params: ProductPath, querystring: MetricsQuery, response: { 200: MetricsAnswer } } },
    async ({ params: { productId }, query: { asOf } }) => {
      if (asOf === undefined) return readProductMetrics(db, productId)
      const answer = await readLikeCountAsOf(db, productId, momentMs('asOf', asOf))
      if (answer === 'future') throw invalid('asOf', 'lies in the future')
      return answer
    },
  )
}

function addHistory(app: Http, db: Database): void {
  app.get<OfProduct<Static<typeof HistoryQuery>>>(
    '/api/products/:productId/history',
    { schema: { params: ProductPath, querystring: HistoryQuery, response: { 200: HistoryAnswer } } },
    async ({ params: { productId }, query: { from, to, step } }) => {
      const question = { productId, fromMs: momentMs('from', from), toMs: momentMs('to', to), step }
      if (question.toMs <= question.fromMs) throw invalid('to', 'must be later than from')
      const points = pointsOf(question)
      if (points > pointsMax) {
        throw invalid(
          'step',
          `makes ${points} points of this range, and ${pointsMax} is the most: take a longer one`,
        )
      }
      return readHistory(db, question)
    },
  )
}

function addTrending(app: Http, db: Database): void {
  const share = shareTrending((window: TrendingWindow) => readTrending(db, window, trendingProductsMax))
  app.get<{ Querystring: Static<typeof TrendingQuery> }>(
    '/api/products/trending',
    { schema: { querystring: TrendingQuery, response: { 200: TrendingAnswer } } },
    async ({ query: { window, limit } }, reply) => {
      const { trending, maxAgeMs } = await share(window)
      reply.header('cache-control', `public, max-age=${Math.ceil(maxAgeMs / 1_000)}`)
      return { ...trending, products: trending.products.slice(0, limit) }
    },
  )
}

function addStream(app: Http, { db, log, telemetry, streams }: Omit<AppOptions, 'guard'>): void {
  const { tickMs, heartbeatMs, stuckMsMax, streamsMax } = streams
  const live = buildLiveMetrics({ db, log, telemetry, tickMs, streamsMax })
  // Before the server waits for its open connections, for these do not end by themselves.
  app.addHook('preClose', () => live.stop())
  app.get<OfProduct>(
    '/api/products/:productId/metrics/stream',
    { schema: { params: ProductPath }, exposeHeadRoute: false },
    async (request, reply) => {
      const last = request.headers['last-event-id']
      live.watch(request.params.productId, typeof last === 'string' ? last : undefined, (onClose) =>
        openEventStream(request, reply, { heartbeatMs, stuckMsMax, retryMs, onClose }),
      )
    },
  )
}

function momentMs(field: string, text: string): number {
  const ms = Date.parse(text)
  // A leap second has the form of a moment, and is none that could be reckoned with.
  if (Number.isNaN(ms)) throw invalid(field, 'is no moment')
  return ms
}

function invalid(field: string, message: string): Failure {
  return new Failure('PARAMS_INVALID', `${field} ${message}.`, { details: { errors: [{ field, message }] } })
}
