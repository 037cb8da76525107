import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Failure } from './failure.ts'
import type { Guard } from './guard-config.ts'
import type { Logger } from './logger.ts'
import type { Telemetry } from './telemetry.ts'

/** Addresses and callers that are counted at the same time; beyond it the one not seen for longest is forgotten. */
const countedMax = 20_000

/** How long a request waits for Redis, and how long Redis is left alone after it did not answer. */
const redisWaitMs = 200
const redisRestMs = 1_000

type Count = ReturnType<FastifyInstance['createRateLimit']>
type Options = Parameters<FastifyInstance['createRateLimit']>[0]

interface LimitParts {
  /** Services that share a Redis count for themselves. */
  service: string
  rate: Guard['rate']
  telemetry: Telemetry
  log: Pick<Logger, 'warn' | 'info'>
  /** Called for each request that is refused. */
  refused: (reason: 'rate_address' | 'rate_caller') => void
}

/**
 * Limits of requests, per address and per caller: `addAddress` is for before identities are read, `addCaller` for after,
 * both once the app's plugins are loaded.
 */
export function buildRateLimits(app: FastifyInstance, parts: LimitParts) {
  const { rate, refused } = parts
  const { windowMs, isExempt } = rate
  const count = countRequests(app, parts)
  const common = { timeWindow: windowMs, cache: countedMax }

  function limit(options: {
    max: number
    count: Count
    counts: (request: FastifyRequest) => boolean
    reason: 'rate_address' | 'rate_caller'
    whose: string
  }): void {
    app.addHook('onRequest', async (request) => {
      if (!options.counts(request)) return
      const found = await options.count(request)
      if (found.isAllowed || !found.isExceeded) return
      refused(options.reason)
      throw tooMany(`${options.max} requests ${options.whose}`, windowMs, found.ttlInSeconds)
    })
  }

  return {
    addAddress(): void {
      const max = rate.perAddress
      if (max === 0) return
      limit({
        max,
        count: count({ ...common, max }),
        counts: (request) => !request.routeOptions.config.probe && !isExempt(request.ip),
        reason: 'rate_address',
        whose: 'from one address',
      })
    },
    addCaller(): void {
      const max = rate.perCaller
      if (max === 0) return
      // In Redis both lie side by side, and no address looks like this.
      const keyGenerator = ({ identity }: FastifyRequest) => `caller ${identity?.caller ?? ''}`
      limit({
        max,
        count: count({ ...common, max, keyGenerator }),
        counts: ({ identity }) => identity?.caller !== undefined,
        reason: 'rate_caller',
        whose: 'of one caller',
      })
    },
  }
}

function tooMany(limit: string, windowMs: number, retryAfterS: number): Failure {
  return new Failure(
    'TOO_MANY_REQUESTS',
    `There were more than ${limit} in ${windowMs / 1_000} s; go on in ${retryAfterS} s.`,
    { details: { retryAfterS } },
  )
}

/** Counts in this process's memory; or in Redis, for all replicas together, and in memory while Redis is away. */
function countRequests(
  app: FastifyInstance,
  { service, rate: { redisUrl }, telemetry, log }: Omit<LimitParts, 'refused'>,
): (options: Options) => Count {
  let [local, shared] = [app, app]
  void app.register(async (scope) => {
    await scope.register(import('@fastify/rate-limit'), { global: false })
    local = scope
  })
  if (redisUrl === undefined) return (options) => local.createRateLimit(options)

  void app.register(async (scope) => {
    const redis = await connectRedis(redisUrl, log)
    scope.addHook('onClose', async () => {
      redis.disconnect()
    })
    const nameSpace = `likewise-rate-${service}-`
    await scope.register(import('@fastify/rate-limit'), { global: false, redis, nameSpace })
    shared = scope
  })
  const alone = telemetry.counter(
    'likewise_http_rate_alone_total',
    'Requests counted by this replica alone, since Redis did not answer.',
  )
  let restsUntilMs = 0
  return (options) => {
    const [countHere, countShared] = [local.createRateLimit(options), shared.createRateLimit(options)]
    return async (request) => {
      if (performance.now() >= restsUntilMs) {
        try {
          return await countShared(request)
        } catch {
          restsUntilMs = performance.now() + redisRestMs // its connection tells why
        }
      }
      alone.inc()
      return countHere(request)
    }
  }
}

/** Connects in the background, for ever; what is asked meanwhile fails at once. */
async function connectRedis(url: string, log: LimitParts['log']) {
  const { Redis } = await import('ioredis')
  const redis = new Redis(url, {
    commandTimeout: redisWaitMs,
    connectTimeout: 5_000,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (attempt) => Math.min(attempt * 100, 2_000),
  })
  let isAway = false
  redis.on('error', (error) => {
    if (!isAway) log.warn({ err: error }, 'Redis is away: each replica counts requests by itself')
    isAway = true
  })
  redis.on('ready', () => {
    if (isAway) log.info('Redis is back: requests are counted for all replicas together')
    isAway = false
  })
  return redis
}
