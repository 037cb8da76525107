import { raw, sql } from '@likewise/database'
import { aggregateType, topics } from '@likewise/events'
import { enqueue } from '@likewise/outbox'
import { sendLike } from '../likes.ts'
import type { DemoContext } from './context.ts'

/** One way to take likes, with the likes it is asked to take: Likewise, or a program of examples/before. */
export interface Lane {
  readonly api: string
  /** Where it saves likes. */
  readonly table: string
  /** Where a program sends its events; Likewise is judged by its counts. */
  readonly topic?: string
  /** One per product. */
  readonly likes: readonly { readonly userId: number; readonly productId: number }[]
  /** A product whose first like is rolled back. */
  readonly ghostProductId: number
}

/** The programs know users 1 to 100: a like of this one fails at the commit. */
export const ghostUserId = 101

/** A like whose transaction is rolled back after its event was written, or sent. */
export async function sendRolledBack({ catalog }: DemoContext, lane: Lane): Promise<void> {
  const productId = lane.ghostProductId
  if (lane.topic !== undefined) {
    await sendLike(lane.api, ghostUserId, productId)
    return
  }
  const rollback = new Error('rollback')
  const createdAt = new Date().toISOString()
  const work = catalog.tx(async (tx) => {
    await enqueue(tx, {
      eventType: 'catalog.like.added.v1',
      aggregateType,
      aggregateId: String(productId),
      topic: topics.catalogEvents,
      partitionKey: String(productId),
      payload: JSON.stringify({ userId: ghostUserId, productId, createdAt }),
    })
    throw rollback
  })
  await work.catch((error: unknown) => {
    if (error !== rollback) throw error
  })
}

export interface Taken {
  /** Answered 2xx. */
  readonly taken: number
  readonly slowestMs: number
  /** Rows in the table of likes afterwards. */
  readonly saved: number
}

/** Sends the lane's likes at once. */
export async function sendLikes({ catalog }: DemoContext, lane: Lane): Promise<Taken> {
  const answers = await Promise.all(
    lane.likes.map(async ({ userId, productId }) => {
      const begunMs = performance.now()
      const { status = 0 } = await sendLike(lane.api, userId, productId)
      return { ok: status >= 200 && status < 300, ms: performance.now() - begunMs }
    }),
  )
  const products = lane.likes.map(({ productId }) => productId)
  const saved = await catalog.query(
    sql`select 1 from ${raw(lane.table)} where product_id = any(${products}::bigint[])`,
  )
  return {
    taken: answers.filter(({ ok }) => ok).length,
    slowestMs: Math.max(...answers.map(({ ms }) => ms)),
    saved: saved.length,
  }
}
