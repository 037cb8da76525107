import assert from 'node:assert/strict'
import { IncomingMessage, type OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import helmet from 'helmet'
import type { Authenticate } from './identity.ts'
import { Failure } from './failure.ts'
import type { Guard } from './guard-config.ts'
import type { Logger } from './logger.ts'
import { buildRateLimits } from './rate-limits.ts'
import type { Telemetry } from './telemetry.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answers whoever watches the service, however loaded it is and however often it is asked. */
    probe?: boolean
  }
}

const longestPreflightAgeS = 600

/**
 * Headers against what browsers can be talked into, CORS, load shedding, limits of requests, identity: in this order,
 * before a request's body is read. The limit per address comes before a signature is checked, so that it also bounds the
 * work that wrong tokens make.
 */
export function addGuard(
  app: FastifyInstance,
  parts: { service: string; guard: Guard; authenticate: Authenticate; telemetry: Telemetry; log: Logger },
): void {
  const { service, guard, authenticate, telemetry, log } = parts
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
  const limits = buildRateLimits(app, {
    ...{ service, rate, telemetry, log },
    refused: (reason) => refused.inc({ reason }),
  })
  app.after(() => {
    limits.addAddress()
    addIdentity(app, authenticate, () => refused.inc({ reason: 'unauthenticated' }))
    limits.addCaller()
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
