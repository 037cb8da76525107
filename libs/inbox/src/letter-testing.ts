import { randomBytes } from 'node:crypto'
import { encode } from '@likewise/events'
import type { InboxRecord } from './judgement.ts'

/** A UUID v7 made at that time. */
export function idAt(ms: number): string {
  const hex = ms.toString(16).padStart(12, '0')
  const random = randomBytes(9).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7${random.slice(0, 3)}-9${random.slice(3, 6)}-${random.slice(6, 18)}`
}

export interface Told {
  readonly offset: number
  readonly product: number
  readonly madeMs?: number
  readonly liked?: boolean
}

/** A like of `product`; its user is its offset + 1, so that what was applied shows which. */
export function recordOf(told: Told, change: Partial<InboxRecord> = {}): InboxRecord {
  const { offset, product, madeMs = Date.now(), liked = true } = told
  const data = { userId: offset + 1, productId: product, createdAt: '2026-11-22T09:14:05.402817Z' }
  const type = liked ? 'catalog.like.added.v1' : 'catalog.like.removed.v1'
  const about = { type, source: '/test', time: data.createdAt } as const
  const { key, value, headers } = encode({ ...about, id: idAt(madeMs), data })
  return { offset: BigInt(offset), key, value: Buffer.from(value), headers, timeMs: Date.now(), ...change }
}

export const withoutEnd = { value: Buffer.from('{"userId":') }
