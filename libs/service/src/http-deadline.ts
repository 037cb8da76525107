import { errorCodes } from 'fastify'
import type { FastifyInstance, FastifyReply } from 'fastify'

/**
 * Answers for a handler that has not answered after `limitMs`, up to `checkEveryMs` later: with FST_ERR_HANDLER_TIMEOUT, as
 * Fastify's own handlerTimeout does. That one makes a timer and an AbortController for each request, and aborts it at the
 * end of each, whose DOMException keeps a stack: a ninth of the CPU time of a like. Here is one timer for all.
 */
export function limitHandlers(
  app: FastifyInstance,
  { limitMs, checkEveryMs }: { limitMs: number; checkEveryMs: number },
): void {
  /** When each is due; the oldest first, since all have the same limit. */
  const open = new Map<FastifyReply, number>()
  const checking = setInterval(
    () => {
      const nowMs = performance.now()
      for (const [reply, dueMs] of open) {
        if (dueMs > nowMs) break
        open.delete(reply)
        giveUp(reply, limitMs)
      }
    },
    Math.min(checkEveryMs, limitMs),
  ).unref()
  app.addHook('onRequest', (_request, reply, done) => {
    open.set(reply, performance.now() + limitMs)
    done()
  })
  app.addHook('onResponse', (_request, reply, done) => {
    open.delete(reply)
    done()
  })
  app.addHook('onClose', async () => {
    clearInterval(checking)
  })
}

/** What was answered, or is a stream of its own (hijacked), stays. What is half written can only be cut off. */
function giveUp(reply: FastifyReply, limitMs: number): void {
  if (reply.sent) return
  const error = new errorCodes.FST_ERR_HANDLER_TIMEOUT(limitMs, reply.request.routeOptions.url)
  if (reply.raw.headersSent) reply.raw.destroy(error)
  else void reply.send(error)
}
