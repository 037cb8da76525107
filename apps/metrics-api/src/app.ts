import type { Database } from '@likewise/database'
import { topics } from '@likewise/events'
import { type CountedThrough, readCountedThrough } from '@likewise/inbox'
import {
  type TrendingWindow,
  pointsMax,
  pointsOf,
  readHistory,
  readLikeCountAsOf,
  readProductMetrics,
  readStates,
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
  revalidated,
  version,
} from '@likewise/service'
import type { Static } from 'typebox'
import { docs, operations } from './docs.ts'
import { buildLiveMetrics } from './live-metrics.ts'
import {
  HistoryQuery,
  ManyQuery,
  MetricsQuery,
  ProductPath,
  TrendingAnswer,
  TrendingQuery,
  historyAnswers,
  manyAnswers,
  metricsAnswers,
  streamAnswers,
  trendingProductsMax,
} from './schemas.ts'
import { shareTrending } from './shared-trending.ts'

export interface AppOptions {
  db: Database
  /** The consumer's name, whose counts these are. */
  consumer: string
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

/** For a client whose stream ended. */
const retryMs = 2_000

/** The read side over REST. No `listen`: tests use `inject`. */
export function buildApp(options: AppOptions): Http {
  const { db, consumer, log, telemetry, streams, guard = defaultGuard } = options
  const app = buildHttp({
    log,
    telemetry,
    service: 'metrics-api',
    version,
    guard,
    ready: async () => ({ database: await checked(db.ping()) }),
    docs,
  })
  /** Each reads it before the counts that it is told with. */
  const countedThrough: ReadCountedThrough = (productIds) =>
    readCountedThrough(db, { consumer, topic: topics.catalogEvents }, productIds?.map(String))
  addMetrics(app, db, countedThrough)
  addMany(app, db, countedThrough)
  addHistory(app, db, countedThrough)
  addTrending(app, db, countedThrough)
  addStream(app, { db, log, telemetry, streams, countedThrough })
  return app
}

type ReadCountedThrough = (productIds?: readonly number[]) => Promise<CountedThrough>
type OfProduct<Query = unknown> = { Params: Static<typeof ProductPath>; Querystring: Query }

function addMetrics(app: Http, db: Database, countedThrough: ReadCountedThrough): void {
  app.get<OfProduct<Static<typeof MetricsQuery>>>(
    '/api/products/:productId/metrics',
    {
      schema: {
        ...operations.metrics,
        params: ProductPath,
        querystring: MetricsQuery,
        response: metricsAnswers,
      },
    },
    async (request, reply) => {
      const { productId } = request.params
      const { asOf } = request.query
      const through = (await countedThrough([productId])).of(String(productId))
      const counts =
        asOf === undefined
          ? await readProductMetrics(db, productId)
          : await readLikeCountAsOf(db, productId, momentMs('asOf', asOf))
      if (counts === 'future') throw invalid('asOf', 'lies in the future')
      return answerCounts(request, reply, counts, through)
    },
  )
}

function addMany(app: Http, db: Database, countedThrough: ReadCountedThrough): void {
  app.get<{ Querystring: Static<typeof ManyQuery> }>(
    '/api/metrics',
    { schema: { ...operations.many, querystring: ManyQuery, response: manyAnswers } },
    async (request, reply) => {
      const { ids } = request.query
      const through = await countedThrough(ids)
      const products = (await readStates(db, ids)).map(({ metrics }) => metrics)
      const times = ids.map((id) => through.of(String(id)))
      const body = {
        countedThrough: times.includes(null) ? null : (times.toSorted()[0] ?? null),
        products: products.map((metrics, i) => ({ ...metrics, countedThrough: times[i] })),
      }
      tellCountedThrough(reply, body.countedThrough)
      return revalidated(request, reply, { body, essence: products })
    },
  )
}

function addHistory(app: Http, db: Database, countedThrough: ReadCountedThrough): void {
  app.get<OfProduct<Static<typeof HistoryQuery>>>(
    '/api/products/:productId/history',
    {
      schema: {
        ...operations.history,
        params: ProductPath,
        querystring: HistoryQuery,
        response: historyAnswers,
      },
    },
    async (request, reply) => {
      const { productId } = request.params
      const { from, to, step } = request.query
      const question = { productId, fromMs: momentMs('from', from), toMs: momentMs('to', to), step }
      if (question.toMs <= question.fromMs) throw invalid('to', 'must be later than from')
      const points = pointsOf(question)
      if (points > pointsMax) {
        throw invalid(
          'step',
          `makes ${points} points of this range, and ${pointsMax} is the most: take a longer one`,
        )
      }
      const through = (await countedThrough([productId])).of(String(productId))
      return answerCounts(request, reply, await readHistory(db, question), through)
    },
  )
}

function addTrending(app: Http, db: Database, countedThrough: ReadCountedThrough): void {
  const share = shareTrending(async (window: TrendingWindow) => {
    const { all } = await countedThrough()
    return { ...(await readTrending(db, window, trendingProductsMax)), countedThrough: all }
  })
  app.get<{ Querystring: Static<typeof TrendingQuery> }>(
    '/api/products/trending',
    {
      schema: { ...operations.trending, querystring: TrendingQuery, response: { 200: TrendingAnswer } },
    },
    async ({ query: { window, limit } }, reply) => {
      const { trending, maxAgeMs } = await share(window)
      reply.header('cache-control', `public, max-age=${Math.ceil(maxAgeMs / 1_000)}`)
      return { ...trending, products: trending.products.slice(0, limit) }
    },
  )
}

function addStream(
  app: Http,
  options: Omit<AppOptions, 'consumer' | 'guard'> & { countedThrough: ReadCountedThrough },
): void {
  const { db, log, telemetry, streams, countedThrough } = options
  const { tickMs, heartbeatMs, stuckMsMax, streamsMax } = streams
  const live = buildLiveMetrics({ db, log, telemetry, tickMs, streamsMax, countedThrough })
  // Before the server waits for its open connections, for these do not end by themselves.
  app.addHook('preClose', () => live.stop())
  app.get<OfProduct>(
    '/api/products/:productId/metrics/stream',
    {
      schema: { ...operations.stream, params: ProductPath, response: streamAnswers },
      exposeHeadRoute: false,
    },
    async (request, reply) => {
      const last = request.headers['last-event-id']
      live.watch(request.params.productId, typeof last === 'string' ? last : undefined, (onClose) =>
        openEventStream(request, reply, { heartbeatMs, stuckMsMax, retryMs, onClose }),
      )
    },
  )
}

type Request = Parameters<typeof revalidated>[0]
type Reply = Parameters<typeof revalidated>[1]

/** How far the counts have got is told each time, and is no reason to send them again. */
function answerCounts<Counts extends object>(
  request: Request,
  reply: Reply,
  counts: Counts,
  countedThrough: string | null,
) {
  tellCountedThrough(reply, countedThrough)
  return revalidated(request, reply, { body: { ...counts, countedThrough }, essence: counts })
}

function tellCountedThrough(reply: Reply, countedThrough: string | null): void {
  if (countedThrough !== null) reply.header('counted-through', countedThrough)
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
