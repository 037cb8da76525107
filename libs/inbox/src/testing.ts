import { randomBytes } from 'node:crypto'
import { encode } from '@likewise/events'
import type { InboxRecord } from './judgement.ts'

export const dayMs = 86_400_000
export const horizon = { dedupHorizonMs: 30 * dayMs, futureMaxMs: dayMs }

/** A UUID v7 made at that time. */
export function idAt(ms: number): string {
  const hex = Math.floor(ms).toString(16).padStart(12, '0')
  const random = randomBytes(8).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7${random.slice(0, 3)}-9${random.slice(3, 6)}-${random.slice(4, 16)}`
}

/** A like of `productId`; its user is its offset + 1, so that it shows which were applied. */
export function likeRecord(offset: number, productId = 100, id = idAt(Date.now())): InboxRecord {
  const data = { userId: offset + 1, productId, createdAt: '2026-11-22T09:14:05.402817Z' }
  const about = { type: 'catalog.like.added.v1', source: '/test', time: data.createdAt } as const
  const { key, value, headers } = encode({ ...about, id, data })
  return { offset: BigInt(offset), key, value: Buffer.from(value), headers, timeMs: Date.now() }
}

export const idOf = (record: InboxRecord): string => String(record.headers['ce_id'])
