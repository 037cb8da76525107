import type { Logger } from './logger.ts'

export interface OutageLog {
  /** `kind`: what is away; a handful of known words. */
  note(kind: string, error: unknown, reqId: string): void
  /** Tells what it has counted by now. */
  stop(): void
}

/**
 * What the log says of requests that fail for as long as something is away, thousands a second: the first of a kind is
 * told whole, those after it are counted, and their number is told every `everyMs`, until there were none for so long.
 * Each is told at debug.
 */
export function buildOutageLog(log: Pick<Logger, 'warn' | 'debug'>, everyMs: number): OutageLog {
  /** By kind, how many since the last line. */
  const counts = new Map<string, number>()
  let clock: NodeJS.Timeout | undefined

  function tell(): void {
    const requests = Object.fromEntries([...counts].filter(([, count]) => count > 0))
    for (const [kind, count] of counts) {
      if (count === 0) counts.delete(kind)
      else counts.set(kind, 0)
    }
    if (Object.keys(requests).length > 0) log.warn({ requests, everyMs }, 'more requests failed for now')
    if (counts.size > 0) return
    clearInterval(clock)
    clock = undefined
  }

  return {
    note(kind, error, reqId) {
      const count = counts.get(kind)
      counts.set(kind, count === undefined ? 0 : count + 1)
      log[count === undefined ? 'warn' : 'debug']({ err: error, reqId }, 'request failed for now')
      clock ??= setInterval(tell, everyMs).unref()
    },
    stop() {
      tell()
      clearInterval(clock)
    },
  }
}
