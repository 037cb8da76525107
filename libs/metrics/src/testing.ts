import { randomBytes } from 'node:crypto'
import { type Database, arrayOf, sql } from '@likewise/database'
import type { LikeEvent } from '@likewise/events'
import { applyToProductMetrics, applyWithin } from './apply.ts'

export interface Like {
  productId: number
  liked: boolean
  atMs: number
}

/** An event whose id was made when it happened. */
export function eventOf({ productId, liked, atMs }: Like): LikeEvent {
  const hex = Math.max(0, atMs).toString(16).padStart(12, '0')
  const random = randomBytes(8).toString('hex')
  const time = new Date(atMs).toISOString()
  return {
    type: liked ? 'catalog.like.added.v1' : 'catalog.like.removed.v1',
    id: `${hex.slice(0, 8)}-${hex.slice(8)}-7${random.slice(0, 3)}-9${random.slice(3, 6)}-${random.slice(4, 16)}`,
    source: '/test',
    time,
    data: { userId: 1, productId, createdAt: time },
  }
}

export const applyLikes = (db: Database, likes: readonly Like[]): Promise<void> =>
  db.tx((tx) => applyToProductMetrics(tx, likes.map(eventOf)))

/** The same as part of a statement that was given as many again, of which it finds that they had their effect. */
export async function applyLikesWithin(db: Database, likes: readonly Like[]): Promise<void> {
  const [events, known] = [likes.map(eventOf), likes.map(eventOf)]
  const fresh = sql`fresh as (select unnest(${arrayOf(events.map(({ id }) => id))}::uuid[]) as event_id)`
  await db.query(sql`with ${fresh}${applyWithin([...known, ...events])} select 1 as done`)
}

/** The database's clock. */
export async function nowMs(db: Database): Promise<number> {
  const [row] = await db.query<{ ms: number }>(sql`select (extract(epoch from now()) * 1000)::float8 as ms`)
  return row?.ms ?? Number.NaN
}

export const emptyModel = (db: Database): Promise<unknown> =>
  db.execute(sql`
    truncate metrics.product_metrics, metrics.product_like_windows, metrics.product_like_hours,
      metrics.product_like_days`)

export const netOf = (likes: readonly Like[]): number =>
  likes.reduce((sum, { liked }) => sum + (liked ? 1 : -1), 0)
