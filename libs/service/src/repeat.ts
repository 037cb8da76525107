import { Failure } from './failure.ts'
import type { Logger } from './logger.ts'
import { pause } from './pause.ts'

interface Repetition {
  /** From the end of one to the next, by how long it took. */
  pauseMs: (tookMs: number) => number
  log: Logger
  /** What the log says when it failed. */
  failed: string
}

/**
 * Does `work` now, and again and again. One that fails is told (an outage as a warning, anything else as an error) and has
 * its next turn like any other. @returns stop, which waits for what is under way.
 */
export function repeat(
  work: (stopping: AbortSignal) => Promise<void>,
  { pauseMs, log, failed }: Repetition,
): () => Promise<void> {
  const stopping = new AbortController()
  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      const begunMs = performance.now()
      await work(stopping.signal).catch((error: unknown) => {
        const outage = error instanceof Failure && error.retryable
        if (!stopping.signal.aborted) log[outage ? 'warn' : 'error']({ err: error }, failed)
      })
      await pause(pauseMs(performance.now() - begunMs), stopping.signal)
    }
  }
  const running = run()
  return () => {
    stopping.abort()
    return running
  }
}
