import { Failure, pause } from '@likewise/service'

const intervalMs = 100

/**
 * Polls `read` until `done` holds or the time is up, and returns what it read last: a story shows it either way. An
 * outage while reading is waited out likewise. Throws the signal's reason when it is aborted.
 */
export async function lastRead<T>(
  read: () => Promise<T>,
  done: (value: T) => boolean,
  { withinMs, signal }: { withinMs: number; signal?: AbortSignal },
): Promise<T> {
  const deadlineMs = performance.now() + withinMs
  for (;;) {
    signal?.throwIfAborted()
    const late = performance.now() >= deadlineMs
    try {
      const value = await read()
      if (late || done(value)) return value
    } catch (error) {
      if (late || !(error instanceof Failure && error.retryable)) throw error
    }
    await pause(intervalMs, signal)
  }
}
