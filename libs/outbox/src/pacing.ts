import { backoffMs, pause } from '@likewise/service'
import type { RelayLimits } from './relay.ts'

/** How long to rest between two polls: short while there is work, longer and longer when idle or failing. */
export function pacing(
  limits: Pick<RelayLimits, 'pollMinMs' | 'pollMaxMs' | 'backoffBaseMs' | 'backoffCapMs'>,
  stopping: AbortSignal,
) {
  const { pollMinMs, pollMaxMs, backoffBaseMs: baseMs, backoffCapMs: capMs } = limits
  let [waitMs, failures] = [pollMinMs, 0]
  let hurried = new AbortController()
  const hurry = (): void => {
    hurried.abort()
  }
  stopping.addEventListener('abort', hurry)

  return {
    /** Ends the rest, or the next one, after the shortest: a shard that has just been worked on is likely to have more. */
    hurry,
    async rest(found: number | 'failed'): Promise<void> {
      failures = found === 'failed' ? failures + 1 : 0
      if (found === 'failed') waitMs = backoffMs({ attempt: failures, baseMs, capMs, random: Math.random })
      else waitMs = found > 0 ? pollMinMs : Math.min(waitMs * 2, pollMaxMs)
      // Jitter: relays that started together must not poll together for ever.
      const jitter = 0.75 + Math.random() / 2
      await pause(pollMinMs * jitter, stopping)
      await pause(Math.max(0, waitMs - pollMinMs) * jitter, hurried.signal)
      if (hurried.signal.aborted) waitMs = pollMinMs
      if (!stopping.aborted) hurried = new AbortController()
    },
  }
}
