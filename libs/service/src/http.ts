import { randomUUID } from 'node:crypto'
import { fastify, LogController } from 'fastify'
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { trustedAuth } from './auth.ts'
import type { Auth } from './auth.ts'
import { Failure } from './failure.ts'
import type { Guard } from './guard-config.ts'
import { readStrictBodies } from './http-body.ts'
import { limitHandlers } from './http-deadline.ts'
import { addDocs } from './http-docs.ts'
import type { ApiDocs } from './http-docs.ts'
import { addGuard } from './http-guard.ts'
import { readTypedParams } from './http-params.ts'
import { addProbes } from './http-probes.ts'
import type { Ready } from './http-probes.ts'
import { toProblem } from './http-problem.ts'
import type { Problem } from './http-problem.ts'
import { noteRoutes } from './http-routes.ts'
import type { HttpRoutes } from './http-routes.ts'
import { refuseConnection } from './http-refusal.ts'
import type { Logger } from './logger.ts'
import { buildOutageLog } from './outage-log.ts'
import type { OutageLog } from './outage-log.ts'
import type { Telemetry } from './telemetry.ts'

export type Http = FastifyInstance
export type HttpLimits = typeof defaultLimits

const defaultLimits = {
  /** Bodies are a few numbers; 16 KB is room enough and nothing to fill the memory with. */
  bodyBytesMax: 16 * 1024,
  /** For a client to hand over its headers; also ends sockets that never say a word (slow loris). */
  headersTimeoutMs: 5_000,
  /** For a client to hand over its whole request, however steadily it trickles. */
  requestTimeoutMs: 10_000,
  /** How late the two above, and that of a handler, may come; Node's default is 30 s. */
  timeoutCheckMs: 1_000,
  /**
   * Silence on a busy socket: ends clients that stop reading their answer. Streams have a limit of their own
   * (event-stream.ts).
   */
  connectionTimeoutMs: 10_000,
  /** Each costs some 10 KB; the newest one above it is closed. */
  connectionsMax: 10_000,
  /** For a handler to answer, else 503: above the database's limits (a better answer), below the silence above. */
  handlerTimeoutMs: 8_000,
  /** For /readyz; orchestrators give a probe a second or a little more. */
  readyTimeoutMs: 1_000,
  /** From line to line about requests that fail for the same reason. */
  outageLogEveryMs: 5_000,
}

/**
 * The HTTP server all apps share, without listen: probes, /metrics, an index at /, problems in RFC 9457, limits.
 * Add routes with TypeBox schemas to it. Bodies are taken as they are typed; see http-params.ts for path and query.
 */
export function buildHttp(options: {
  log: Logger
  telemetry: Telemetry
  service: string
  version: string
  ready: Ready
  /** Where given, GET /docs and GET /openapi.json tell of the routes under /api/. */
  docs?: Omit<ApiDocs, 'version'>
  limits?: Partial<HttpLimits>
  /** For a service that the world may reach; without it there is only what every service has, and no identity. */
  guard?: Guard
  auth?: Auth
}): Http {
  const { telemetry, service, version, guard, auth = trustedAuth } = options
  const limits = { ...defaultLimits, ...options.limits }
  const outages = buildOutageLog(options.log, limits.outageLogEveryMs)
  const answerProblem = problemAnswer(outages)
  // Fastify infers its logger's type from this; with pino's own no plugin written for FastifyInstance would fit.
  const loggerInstance: FastifyBaseLogger = options.log
  const app = fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    // One of its own for each request costs a tenth of what a like does, and most have nothing to say.
    childLoggerFactory: (log) => log,
    trustProxy: guard && guard.trustedProxies.length > 0 ? [...guard.trustedProxies] : false,
    http: { headersTimeout: limits.headersTimeoutMs, connectionsCheckingInterval: limits.timeoutCheckMs },
    bodyLimit: limits.bodyBytesMax,
    requestTimeout: limits.requestTimeoutMs,
    connectionTimeout: limits.connectionTimeoutMs,
    onProtoPoisoning: 'error',
    onConstructorPoisoning: 'error',
    // While closing, a request on an open connection is still served (with Connection: close): what it needs is only
    // released after the server has closed, and a 503 here would be an error for nothing.
    return503OnClosing: false,
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, allErrors: false } },
    frameworkErrors: answerProblem,
    clientErrorHandler: refuseConnection,
  })
  app.server.maxConnections = limits.connectionsMax
  readStrictBodies(app)
  app.setErrorHandler(answerProblem)
  app.addHook('onClose', async () => outages.stop())
  limitHandlers(app, { limitMs: limits.handlerTimeoutMs, checkEveryMs: limits.timeoutCheckMs })
  const routes = noteRoutes(app)
  answerUnserved(app, routes, answerProblem)
  observe(app, telemetry)
  readTypedParams(app)
  if (guard) addGuard(app, { service, guard, authenticate: auth.authenticate, telemetry, log: options.log })
  if (options.docs) addDocs(app, routes, { ...options.docs, version })
  addProbes(app, { ready: options.ready, readyTimeoutMs: limits.readyTimeoutMs, telemetry })
  app.get('/', async () => ({ service, version, endpoints: routes.endpoints() }))
  return app
}

function observe(app: Http, telemetry: Telemetry): void {
  const duration = telemetry.histogram(
    'likewise_http_request_duration_seconds',
    'Time from the first byte of a request to the end of its answer.',
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    ['method', 'route', 'status'],
  )
  app.addHook('onResponse', async (request, reply) => {
    // How long a stream was open is no time of an answer.
    if (String(reply.raw.getHeader('content-type')).startsWith('text/event-stream')) return
    // The pattern, never the path: ids would make a time series each.
    const route = request.routeOptions.url ?? 'unmatched'
    duration.observe({ method: request.method, route, status: reply.statusCode }, reply.elapsedTime / 1000)
    request.log.debug(
      // No query: whoever sends a secret there means it for nobody's log.
      {
        reqId: request.id,
        method: request.method,
        url: pathOf(request),
        status: reply.statusCode,
        durationMs: reply.elapsedTime,
      },
      'request',
    )
  })
}

function pathOf({ url }: FastifyRequest): string {
  return url.split('?')[0] ?? ''
}

type AnswerProblem = (error: unknown, request: FastifyRequest, reply: FastifyReply) => void

/** A path or a method that nobody serves. RFC 9110: whoever asks is told which methods the path has (15.5.6, 9.3.7). */
function answerUnserved(app: Http, routes: HttpRoutes, answerProblem: AnswerProblem): void {
  app.setNotFoundHandler((request, reply) => {
    const path = pathOf(request)
    const allowed = routes.allowed(path).join(', ')
    if (allowed === '') {
      answerProblem(new Failure('NOT_FOUND', `There is no ${request.method} ${path} here.`), request, reply)
      return
    }
    reply.header('allow', allowed)
    if (request.method === 'OPTIONS') {
      void reply.code(204).send()
      return
    }
    const sentence = `There is no ${request.method} ${path} here; it takes ${allowed}.`
    answerProblem(new Failure('METHOD_NOT_ALLOWED', sentence), request, reply)
  })
}

const problemAnswer =
  (outages: OutageLog): AnswerProblem =>
  (error, request, reply) => {
    const problem = toProblem(error)
    // What is shed is counted: a line for each would add to the load.
    const shed = error instanceof Failure && error.code === 'OVERLOADED'
    if (problem.status === 503 && !shed) outages.note(problem.title, error, request.id)
    else if (problem.status >= 500 && !shed)
      request.log.error({ err: error, reqId: request.id }, 'request failed')
    sendProblem(reply, { error, problem, requestId: request.id })
  }

function sendProblem(
  reply: FastifyReply,
  { error, problem, requestId }: { error: unknown; problem: Problem; requestId: string },
): void {
  const retryAfterS = retryAfterOf(error, problem)
  if (retryAfterS !== undefined) reply.header('retry-after', String(retryAfterS))
  // The instance is the request's id in the log. A serializer of its own: a response schema of the route would cut the problem to its shape.
  void reply
    .code(problem.status)
    .type('application/problem+json')
    .serializer((body: Problem) => JSON.stringify(body))
    .send(problem.status >= 500 ? { ...problem, instance: `urn:uuid:${requestId}` } : problem)
}

function retryAfterOf(error: unknown, { status }: Problem): number | undefined {
  const told = error instanceof Failure ? error.details?.['retryAfterS'] : undefined
  return typeof told === 'number' ? told : status === 503 ? 1 : undefined
}

/** Resolves to the address. `variable` is the setting that names the port, for the sentence that says how to mend it. */
export async function listen(
  app: Http,
  options: { host: string; port: number; variable: string },
): Promise<string> {
  const { host, port, variable } = options
  try {
    return await app.listen({ host, port })
  } catch (cause) {
    switch ((cause as NodeJS.ErrnoException).code) {
      case 'EADDRINUSE':
        throw new Failure('PORT_IN_USE', `Port ${port} is in use; set ${variable} to a free one.`, { cause })
      case 'EACCES':
        throw new Failure(
          'PORT_IN_USE',
          `Port ${port} may not be opened by this user; set ${variable} to one above 1023.`,
          {
            cause,
          },
        )
      default:
        throw cause
    }
  }
}
