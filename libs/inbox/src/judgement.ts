import { type HeaderValue, type LikeEvent, type RefusedReason, decode, uuidV7TimeMs } from '@likewise/events'

/** A record as the broker gave it. */
export interface InboxRecord {
  readonly offset: bigint
  readonly key: string | null
  readonly value: Uint8Array | null
  readonly headers: Readonly<Record<string, HeaderValue>>
  readonly timeMs: number
}

/** Kept with a dead letter and shown to operators, so the words are permanent. */
export type ParkReason = RefusedReason | 'too_old' | 'from_future' | 'behind_parked' | 'failed'

export interface Parked {
  readonly kind: 'parked'
  readonly record: InboxRecord
  readonly reason: ParkReason
  readonly detail: string
  readonly eventId: string | null
  readonly eventType: string | null
  /** Later events of this key wait behind it. */
  readonly blocksKey: boolean
}

export type Judgement =
  | { readonly kind: 'event'; readonly record: InboxRecord; readonly event: LikeEvent }
  | { readonly kind: 'foreign' }
  | Parked

export interface Horizon {
  /** Ids older than this are no longer remembered by event_handled, so a duplicate could not be told. */
  readonly dedupHorizonMs: number
  /** An id from further ahead than this would be forgotten too late, or was made up. */
  readonly futureMaxMs: number
}

// About the id alone: its event may well have had its effect, so it says nothing about the events behind it.
const standsAlone: ReadonlySet<ParkReason> = new Set(['bad_id', 'too_old', 'from_future'])

/** A key that events of this family can have. Behind any other one nothing can wait; and it may be of any length. */
const keyOfEvents = /^[1-9]\d{0,15}$/

/** Judges one record by its bytes and its age. Pure: `nowMs` is the database's. */
export function judge(record: InboxRecord, nowMs: number, horizon: Horizon): Judgement {
  const decoded = decode(record)
  if (decoded.kind === 'foreign') return { kind: 'foreign' }
  if (decoded.kind === 'refused') {
    return parked(record, decoded.reason, decoded.detail, { id: decoded.eventId, type: null })
  }
  const { event } = decoded
  const ageMs = nowMs - (uuidV7TimeMs(event.id) ?? 0)
  if (ageMs > horizon.dedupHorizonMs) {
    return parked(
      record,
      'too_old',
      `the event id is ${days(ageMs)} days old, the horizon is ${days(horizon.dedupHorizonMs)}`,
      event,
    )
  }
  if (-ageMs > horizon.futureMaxMs) {
    return parked(
      record,
      'from_future',
      `the event id is ${days(-ageMs)} days ahead of the database's clock`,
      event,
    )
  }
  return { kind: 'event', record, event }
}

/** An event whose key waits for an earlier one: kept in order behind it. */
export function parkBehind(record: InboxRecord, event: LikeEvent): Parked {
  return parked(record, 'behind_parked', 'an earlier event of this key is parked', event)
}

function parked(
  record: InboxRecord,
  reason: ParkReason,
  detail: string,
  event: { id: string | null; type: string | null },
): Parked {
  const blocksKey = record.key !== null && keyOfEvents.test(record.key) && !standsAlone.has(reason)
  return { kind: 'parked', record, reason, detail, eventId: event.id, eventType: event.type, blocksKey }
}

const days = (ms: number): string => (ms / 86_400_000).toFixed(1)
