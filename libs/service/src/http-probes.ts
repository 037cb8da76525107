import type { FastifyInstance } from 'fastify'
import { maskPasswords } from './logger.ts'
import { pause } from './pause.ts'
import type { Telemetry } from './telemetry.ts'

/** Per check: true, or a sentence that says what is wrong. */
export type Ready = () => Promise<Record<string, true | string>>

/** A check for `Ready` from something that rejects when it is not well. */
export async function checked(check: Promise<unknown>): Promise<true | string> {
  try {
    await check
    return true
  } catch (error) {
    return maskPasswords(error instanceof Error ? error.message : String(error))
  }
}

/** livez: the process turns its event loop. readyz: its checks pass. Only the second may depend on anything outside. */
export function addProbes(
  app: FastifyInstance,
  options: { ready: Ready; readyTimeoutMs: number; telemetry: Telemetry },
): void {
  const { telemetry } = options
  const check = boundedCheck(app, options)
  const config = { probe: true }
  app.get('/livez', { config }, async () => ({ status: 'live' }))
  app.get('/readyz', { config }, async (_request, reply) => {
    const found = await check()
    const ready = Object.values(found).every((result) => result === true)
    const checks = Object.fromEntries(
      Object.entries(found).map(([name, result]) => [name, result === true ? 'ok' : result]),
    )
    return reply.code(ready ? 200 : 503).send({ status: ready ? 'ready' : 'unready', checks })
  })
  app.get('/metrics', { config }, async (_request, reply) =>
    reply.type(telemetry.contentType).send(await telemetry.text()),
  )
}

/**
 * A hanging check is a failed check. Probes that come meanwhile share the one under way: else each would add a waiting
 * connection to whatever hangs, for as long as it hangs.
 */
function boundedCheck(app: FastifyInstance, options: { ready: Ready; readyTimeoutMs: number }): Ready {
  let underWay: ReturnType<Ready> | undefined
  const run = async () => {
    try {
      return await options.ready()
    } catch (err) {
      app.log.warn({ err }, 'readiness check failed')
      return { ready: 'The check itself failed; the log says why.' }
    } finally {
      underWay = undefined
    }
  }
  return async () => {
    underWay ??= run()
    const answered = new AbortController()
    const late = pause(options.readyTimeoutMs, answered.signal).then(() => ({
      ready: `The check did not answer within ${options.readyTimeoutMs} ms.`,
    }))
    try {
      return await Promise.race([underWay, late])
    } finally {
      answered.abort()
    }
  }
}
