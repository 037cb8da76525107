import assert from 'node:assert/strict'
import { IncomingMessage, type OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import helmet from 'helmet'
import type { Authenticate } from './identity.ts'
import { Failure } from './failure.ts'
import type { Guard } from './guard-config.ts'
import type { Telemetry } from './telemetry.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answers whoever watches the service, however loaded it is and however often it is asked. */
    probe?: boolean
  }
}

/** Addresses and callers that are counted at the same time; beyond it the one not seen for longest is forgotten. */
const countedMax = 20_000

const longestPreflightAgeS = 600

/**
 * Headers against what browsers can be talked into, CORS, load shedding, limits of requests, identity: in this order,
 * before a request's body is read. The limit per address comes before a signature is checked, so that it also bounds the
 * work that wrong tokens make.
 */
export function addGuard(
  app: FastifyInstance,
  { guard, authenticate, telemetry }: { guard: Guard; authenticate: Authenticate; telemetry: Telemetry },
): void {
  const refused = telemetry.counter(
    'likewise_http_refused_total',
    'Requests refused before they were read: unauthenticated, rate_address, rate_caller, overloaded.',
    ['reason'],
  )
  const { corsOrigins, eventLoopDelayMsMax, rate } = guard
  app.decorateRequest('identity')
  const headers = safetyHeaders()
  app.addHook('onRequest', (_request, reply, done) => {
    void reply.headers(headers)
    done()
  })
  if (corsOrigins.length > 0) {
    const cors = {
      origin: [...corsOrigins],
      methods: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE'],
      exposedHeaders: ['allow', 'retry-after', 'www-authenticate'],
      maxAge: longestPreflightAgeS,
    }
    void app.register(import('@fastify/cors'), {
      // An OPTIONS that is no preflight asks for the methods of a path, here as where no origin is allowed.
      delegator: async ({ headers }: FastifyRequest) => ({
        ...cors,
        preflight: headers['access-control-request-method'] !== undefined,
      }),
    })
  }
  void app.register(import('@fastify/under-pressure'), {
    maxEventLoopDelay: eventLoopDelayMsMax,
    pressureHandler: async (request: FastifyRequest) => {
      if (request.routeOptions.config.probe) return
      refused.inc({ reason: 'overloaded' })
      throw new Failure('OVERLOADED', 'The event loop is late.')
    },
  })
  void app.register(import('@fastify/rate-limit'), { global: false })
  app.after(() => {
    if (rate.perAddress > 0) addAddressLimit(app, rate, () => refused.inc({ reason: 'rate_address' }))
    addIdentity(app, authenticate, () => refused.inc({ reason: 'unauthenticated' }))
    if (rate.perCaller > 0) addCallerLimit(app, rate, () => refused.inc({ reason: 'rate_caller' }))
  })
}

/**
 * What helmet sets on every answer alike, hence asked of it once: @fastify/helmet builds it anew with each request, which was
 * a fifteenth of the CPU time of a like.
 */
function safetyHeaders(): OutgoingHttpHeaders {
  const answer = new ServerResponse(new IncomingMessage(new Socket()))
  const setHeaders = helmet({
    // Nothing here is a page; a route that is one says so itself.
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
    },
    // For whoever ends TLS to say.
    strictTransportSecurity: false,
  })
  setHeaders(answer.req, answer, (error) => {
    assert.ifError(error)
  })
  return answer.getHeaders()
}

function addAddressLimit(
  app: FastifyInstance,
  { perAddress, windowMs, isExempt }: Guard['rate'],
  tell: () => void,
): void {
  const options = { max: perAddress, timeWindow: windowMs, cache: countedMax }
  const count = app.createRateLimit(options)
  app.addHook('onRequest', async (request) => {
    if (request.routeOptions.config.probe || isExempt(request.ip)) return
    const found = await count(request)
    if (found.isAllowed || !found.isExceeded) return
    tell()
    throw tooMany(`${perAddress} requests from one address`, windowMs, found.ttlInSeconds)
  })
}

function addCallerLimit(
  app: FastifyInstance,
  { perCaller, windowMs }: Guard['rate'],
  tell: () => void,
): void {
  const keyGenerator = (request: FastifyRequest) => request.identity?.caller ?? ''
  const options = { max: perCaller, timeWindow: windowMs, cache: countedMax, keyGenerator }
  const count = app.createRateLimit(options)
  app.addHook('onRequest', async (request) => {
    if (request.identity?.caller === undefined) return
    const found = await count(request)
    if (found.isAllowed || !found.isExceeded) return
    tell()
    throw tooMany(`${perCaller} requests of one caller`, windowMs, found.ttlInSeconds)
  })
}

function tooMany(limit: string, windowMs: number, retryAfterS: number): Failure {
  return new Failure(
    'TOO_MANY_REQUESTS',
    `There were more than ${limit} in ${windowMs / 1_000} s; go on in ${retryAfterS} s.`,
    { details: { retryAfterS } },
  )
}

function addIdentity(app: FastifyInstance, authenticate: Authenticate, tell: () => void): void {
  app.addHook('onRequest', async (request, reply) => {
    if (!request.routeOptions.url?.startsWith('/api/')) return
    try {
      request.identity = await authenticate(request.headers.authorization)
    } catch (error) {
      if (error instanceof Failure && error.code === 'UNAUTHENTICATED') {
        tell()
        challenge(request, reply)
      }
      throw error
    }
  })
}

/** RFC 6750, 3: without a token no error is named. */
function challenge(request: FastifyRequest, reply: FastifyReply): void {
  const error = request.headers.authorization === undefined ? '' : ', error="invalid_token"'
  reply.header('www-authenticate', `Bearer realm="likewise"${error}`)
}
