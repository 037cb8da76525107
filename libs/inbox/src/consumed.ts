import { type LikeEvent, aggregateType, partitionKeyOf } from '@likewise/events'
import type { ConsumedEvent } from './handle-once.ts'

/** What of a like event is remembered. */
export const consumedOf = (event: LikeEvent): ConsumedEvent => ({
  ...{ id: event.id, type: event.type, aggregateType, aggregateId: partitionKeyOf(event) },
})
