import { uuidV7TimeMs } from '@likewise/events'
import type { FactEvent, FactLetter, Facts } from './verify-facts.ts'
import { firstIdOf, likeTypes } from './verify-sums.ts'

/** A like, or the end of one, that no event tells of. */
export interface SilentChange {
  readonly userId: number
  readonly isLike: boolean
  /** Of a like its own time, of an unlike that of the user's last event. */
  readonly atMs: number
}

type Waiting = FactEvent & { readonly reason: string }

/** The events of a product by what became of them. */
export interface Sorted {
  /** Had their effect: those of the moment, and those after it. */
  readonly counted: readonly FactEvent[]
  readonly countedAfter: readonly FactEvent[]
  /** Of the moment, and wait for a decision. */
  readonly parked: readonly Waiting[]
  readonly letters: readonly Waiting[]
  readonly givenUp: readonly FactEvent[]
  /** Of the moment, and nothing is known of them on the consumer side. */
  readonly lost: readonly FactEvent[]
  /** Had their effect, and the outbox has no such event. */
  readonly unknown: readonly FactEvent[]
  /** Change nothing: the one before it of the same user was of the same kind. */
  readonly repeated: readonly FactEvent[]
  readonly silent: readonly SilentChange[]
}

export const effectOf = ({ isLike }: { isLike: boolean }): 1 | -1 => (isLike ? 1 : -1)

/** Pure. */
export function sortEvents(facts: Facts): Sorted {
  const { events, remembered } = facts
  const ofMoment = events.filter(({ committed }) => committed)
  const had = ({ id }: FactEvent): boolean => remembered.get(id)?.discarded === false
  const open = ofMoment.filter(({ id }) => !remembered.has(id))
  const parked = parkedOf(facts, open)
  const letters = lettersOf(facts, without(open, parked))
  const isGivenUp = givenUpOf(facts)
  const rest = without(ofMoment.filter((event) => !had(event)), [...parked, ...letters]) // prettier-ignore
  return {
    counted: ofMoment.filter(had),
    countedAfter: events.filter((event) => !event.committed && had(event)),
    parked,
    letters,
    givenUp: rest.filter(isGivenUp),
    lost: rest.filter((event) => !isGivenUp(event)),
    unknown: unknownOf(facts),
    ...changesOf(facts, ofMoment),
  }
}

function without(events: readonly FactEvent[], others: readonly FactEvent[]): FactEvent[] {
  const ids = new Set(others.map(({ id }) => id))
  return events.filter(({ id }) => !ids.has(id))
}

/** Of an event whose row the ring has no longer. */
const purged = (id: string, eventType: string): FactEvent => ({
  ...{ id, isLike: eventType === likeTypes[0], userId: null, committed: true, published: true },
  atMs: uuidV7TimeMs(id) ?? Number.NaN,
})

function parkedOf({ held, events, remembered }: Facts, open: readonly FactEvent[]): Waiting[] {
  const rows = new Map(events.map((event) => [event.id, event]))
  const isOpen = new Set(open.map(({ id }) => id))
  return held.flatMap(({ id, eventType, detail, resolution }) => {
    if (resolution === 'discarded' || remembered.has(id)) return []
    const row = rows.get(id)
    if (row && !isOpen.has(id)) return []
    return [{ ...(row ?? purged(id, eventType)), reason: detail }]
  })
}

function lettersOf(facts: Facts, open: readonly FactEvent[]): Waiting[] {
  const waiting = facts.letters.filter(({ resolution }) => resolution === null)
  const rows = new Map(open.map((event) => [event.id, event]))
  const known = new Set(facts.events.map(({ id }) => id))
  const firstId = firstIdOf(new Date(facts.coveredFromMs))
  const found = new Map<string, Waiting>()
  for (const { eventId, eventType, reason } of waiting) {
    if (eventId === null || facts.remembered.has(eventId)) continue
    const row = rows.get(eventId)
    // What the outbox should have and has not was never committed.
    const isPurged = !known.has(eventId) && eventId < firstId && eventType !== null
    const event = row ?? (isPurged ? purged(eventId, eventType) : null)
    if (event) found.set(eventId, { ...event, reason })
  }
  // A record that could not be read may tell no id. It is one of its key that is missing otherwise.
  const nameless = waiting.filter(({ eventId }) => eventId === null)
  const others = open.filter(({ id }) => !found.has(id))
  for (const [i, { reason }] of nameless.entries()) {
    const event = others[i]
    if (event) found.set(event.id, { ...event, reason })
  }
  return [...found.values()]
}

function givenUpOf({ held, letters, remembered }: Facts): (event: FactEvent) => boolean {
  const discarded = ({ resolution }: Pick<FactLetter, 'resolution'>) => resolution === 'discarded'
  const ids = new Set([
    ...held.filter(discarded).map(({ id }) => id),
    ...letters.filter(discarded).flatMap(({ eventId }) => eventId ?? []),
  ])
  return ({ id }) => remembered.get(id)?.discarded === true || ids.has(id)
}

function unknownOf({ events, remembered, letters, coveredFromMs }: Facts): FactEvent[] {
  const known = new Set(events.map(({ id }) => id))
  const firstId = firstIdOf(new Date(coveredFromMs))
  // An event without a usable id is redriven under one of its place.
  const redriven = new Set(
    letters.flatMap(({ resolution, resolvedAt }) => (resolution === 'redriven' ? (resolvedAt ?? []) : [])),
  )
  return [...remembered.values()].flatMap(({ id, eventType, discarded, handledAt }) =>
    discarded || known.has(id) || id < firstId || redriven.has(handledAt) ? [] : [purged(id, eventType)],
  )
}

/**
 * Each user's events must be likes and unlikes in turns, and end with what is in likes. What followed one of before the outbox
 * is whole may be gone, so such a one proves nothing.
 */
function changesOf(
  { likers, coveredFromMs }: Facts,
  ofMoment: readonly FactEvent[],
): Pick<Sorted, 'repeated' | 'silent'> {
  const isYoung = ({ id }: FactEvent): boolean => (uuidV7TimeMs(id) ?? Infinity) >= coveredFromMs
  const last = new Map<number, FactEvent>()
  const repeated: FactEvent[] = []
  for (const event of ofMoment) {
    if (event.userId === null) continue
    const before = last.get(event.userId)
    if (before?.isLike === event.isLike && isYoung(before)) repeated.push(event)
    else last.set(event.userId, event)
  }
  const silent: SilentChange[] = []
  for (const [userId, event] of last) {
    const likedAtMs = likers.get(userId)
    if (event.isLike && likedAtMs === undefined && isYoung(event))
      silent.push({ userId, isLike: false, atMs: event.atMs })
    if (!event.isLike && likedAtMs !== undefined && (isYoung(event) || likedAtMs >= coveredFromMs))
      silent.push({ userId, isLike: true, atMs: likedAtMs })
  }
  for (const [userId, atMs] of likers)
    if (!last.has(userId) && atMs >= coveredFromMs) silent.push({ userId, isLike: true, atMs })
  return { repeated, silent }
}
