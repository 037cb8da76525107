import { faultOf, isLikeEvent } from './check.ts'
import { headersOf, type TextEnvelope } from './envelope.ts'
import { partitionKeyOf, type LikeEvent } from './like-event.ts'

/**
 * The record of an event; its value is also the payload that the outbox row keeps.
 * Throws a TypeError for an event that breaks the contract: better a crash here than a dead letter there.
 */
export function encode(event: LikeEvent): TextEnvelope {
  if (!isLikeEvent(event)) {
    const { path, message } = faultOf(event)
    throw new TypeError(`not an event of the contract: ${path} ${message}`)
  }
  const { id, source, type, time, sequence, traceparent, data } = event
  const key = partitionKeyOf(event)
  return {
    key,
    value: JSON.stringify({ userId: data.userId, productId: data.productId, createdAt: data.createdAt }),
    headers: headersOf({ id, source, type, time, subject: key, sequence, traceparent }),
  }
}
