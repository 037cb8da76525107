import type { Database, Queryable } from '@likewise/database'
import { LikeAdded, aggregateType } from '@likewise/events'
import { enqueue } from '@likewise/outbox'
import { pause } from '@likewise/service'

export const keyCount = 200

/** An event that was committed; times are process time. */
export interface Commit {
  readonly id: string
  readonly dueMs: number
  /** When its commit was acknowledged. */
  readonly atMs: number
}

/** Enqueues the i-th like, as like-api would. @returns the event's id */
export async function enqueueLike(db: Queryable, topic: string, i: number): Promise<string> {
  const productId = (i % keyCount) + 1
  const key = String(productId)
  const [id = ''] = await enqueue(db, {
    eventType: LikeAdded.properties.type.const,
    aggregateType,
    aggregateId: key,
    topic,
    partitionKey: key,
    payload: JSON.stringify({ userId: i + 1, productId, createdAt: new Date().toISOString() }),
  })
  return id
}

/**
 * Writes events at a fixed rate, whatever the answers do (an open loop). Each is one statement and thereby a
 * transaction of its own, as in like-api; the pool bounds how many are under way.
 */
export async function writeEvents(
  db: Database,
  options: { topic: string; perSecond: number; seconds: number; stopping: AbortSignal },
): Promise<Commit[]> {
  const { topic, perSecond, seconds, stopping } = options
  const begunMs = performance.now()
  const written: Promise<Commit>[] = []
  for (let i = 0; i < perSecond * seconds; i += 1) {
    const dueMs = begunMs + (i * 1000) / perSecond
    const waitMs = dueMs - performance.now()
    if (waitMs > 0) await pause(waitMs, stopping)
    stopping.throwIfAborted()
    const commit = enqueueLike(db, topic, i).then((id) => ({ id, dueMs, atMs: performance.now() }))
    commit.catch(() => undefined) // thrown below, when all have been written
    written.push(commit)
  }
  return Promise.all(written)
}
