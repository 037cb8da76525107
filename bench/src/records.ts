import { randomBytes } from 'node:crypto'
import { LikeAdded, envelopeOf } from '@likewise/events'
import type { OutgoingRecord } from '@likewise/kafka'

/** A like is spread over so many products: several hundred updates of one row in 100,000 events. */
export const productCount = 1_000

/** Records as the relay makes them of the outbox rows of likes: same keys, values and headers, hence same sizes. */
export function likeRecords(topic: string, count: number, products = productCount): OutgoingRecord[] {
  const nowMs = Date.now()
  return Array.from({ length: count }, (_, i) => {
    const productId = String((i % products) + 1)
    const createdAt = `${new Date(nowMs).toISOString().slice(0, -1)}123Z`
    const envelope = envelopeOf(
      {
        id: uuidV7(nowMs),
        eventType: LikeAdded.properties.type.const,
        aggregateId: productId,
        partitionKey: productId,
        payload: JSON.stringify({ userId: i + 1, productId: Number(productId), createdAt }),
        createdAt,
        seq: String(i + 1),
        traceparent: null,
        headers: null,
      },
      '/like-api',
    )
    return { topic, ...envelope }
  })
}

function uuidV7(timeMs: number): string {
  const bytes = randomBytes(16)
  bytes.writeUIntBE(timeMs, 0, 6)
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x70, 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  const hex = bytes.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}
