import { Failure } from '@likewise/service'
import type { Database } from './database.ts'

/** A statement that has an answer by then gives no reason to doubt. */
const doubtMs = 100
const tickMs = 100
/**
 * Turns of the clock without an answer to `select 1`: together below the second in which a client hears that it did not
 * work (I7). Turns, not time: a process that stood still itself has had one turn, however long that was.
 */
const silentTicks = 6

/**
 * Tells a PostgreSQL that has fallen silent (stopped, cut off) from one that is slow, which statement_timeout is for: while
 * statements wait, it is asked for a sign of life beside them. Without one they fail at once, and so do further ones until
 * there is one again; nothing piles up. What they did is not known. Statements through `client` are not watched.
 */
export function withPulse(db: Database): Database {
  const waiting = new Map<symbol, { sinceMs: number; give: (failure: Failure) => void }>()
  let clock: NodeJS.Timeout | undefined
  let ticksSinceAsked: number | undefined
  let isSilent = false

  const ask = (): void => {
    ticksSinceAsked = 0
    void db.ping().then(
      () => {
        ticksSinceAsked = undefined
        isSilent = false
      },
      // Refused is an answer that the statements get too.
      () => (ticksSinceAsked = undefined),
    )
  }
  const tick = (): void => {
    if (ticksSinceAsked !== undefined) {
      ticksSinceAsked += 1
      if (ticksSinceAsked < silentTicks) return
      isSilent = true
      for (const { give } of waiting.values()) give(silence())
      return
    }
    const [oldest] = waiting.values()
    if (isSilent || (oldest && performance.now() - oldest.sinceMs >= doubtMs)) ask()
    else if (!oldest) {
      clearInterval(clock)
      clock = undefined
    }
  }
  const watched = async <T>(work: () => Promise<T>): Promise<T> => {
    if (isSilent) throw silence()
    clock ??= setInterval(tick, tickMs).unref()
    const id = Symbol()
    const silent = new Promise<never>((_, reject) => {
      waiting.set(id, { sinceMs: performance.now(), give: reject })
    })
    try {
      return await Promise.race([work(), silent])
    } finally {
      waiting.delete(id)
    }
  }

  return {
    ...db,
    query: <T>(statement: Parameters<Database['query']>[0]) => watched(() => db.query<T>(statement)),
    execute: (statement) => watched(() => db.execute(statement)),
    tx: (work, options) => watched(() => db.tx(work, options)),
    stop: () => {
      clearInterval(clock)
      return db.stop()
    },
  }
}

function silence(): Failure {
  return new Failure(
    'DATABASE_UNAVAILABLE',
    'PostgreSQL gives no sign of life; what was sent may still be done.',
  )
}
