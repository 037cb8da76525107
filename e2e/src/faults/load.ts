import type { Database } from '@likewise/database'
import { LikeAdded, aggregateType } from '@likewise/events'
import { type NewEvent, enqueue } from '@likewise/outbox'
import { Failure, pause } from '@likewise/service'

export interface Load {
  /** Ends it; resolves to the number of events that were certainly committed. */
  stop(): Promise<number>
}

const everyMs = 100

/** Writes events until it is stopped, whatever becomes of the database: one writer, so that seq tells the order. */
export function startLoad(
  db: Database,
  topic: string,
  { perSecond = 300, keys = 20 }: { perSecond?: number; keys?: number } = {},
): Load {
  const stopping = new AbortController()
  const count = Math.ceil((perSecond * everyMs) / 1_000)
  async function run(): Promise<number> {
    let committed = 0
    for (let first = 1; !stopping.signal.aborted; first += count) {
      committed += await enqueue(db, likesOf(topic, { first, count, keys })).then(
        ({ length }) => length,
        (error: unknown) => {
          // An outage of the database: whether these are in the outbox, nobody knows until it is read.
          if (error instanceof Failure && error.retryable) return 0
          throw error
        },
      )
      await pause(everyMs, stopping.signal)
    }
    return committed
  }
  const running = run()
  running.catch(() => undefined) // told by stop
  return {
    stop: () => {
      stopping.abort()
      return running
    },
  }
}

/** Likes, one after the other over the keys 1, 2, …; `first` is the user of the first. */
export function likesOf(
  topic: string,
  { first, count, keys = 20 }: { first: number; count: number; keys?: number },
): NewEvent[] {
  return Array.from({ length: count }, (_, i) => likeOf(topic, first + i, String(((first + i) % keys) + 1)))
}

export function likeOf(topic: string, userId: number, key: string): NewEvent {
  return {
    eventType: LikeAdded.properties.type.const,
    aggregateType,
    aggregateId: key,
    topic,
    partitionKey: key,
    payload: JSON.stringify({ userId, productId: Number(key), createdAt: '2026-11-23T12:00:00.000000Z' }),
  }
}
