import { type FactEvent, type Facts } from './verify-facts.ts'
import { type Sorted, effectOf, sortEvents } from './verify-sort.ts'
import { type Stretch, stretchesOf } from './verify-stretches.ts'

/** Words of `--json`, so permanent. */
export type FindingKind =
  | 'parked'
  | 'dead_letter'
  | 'given_up'
  | 'unpublished'
  | 'missing'
  | 'forgotten'
  | 'uncounted'
  | 'doubled'
  | 'repeated'
  | 'bucket'
  | 'unknown'
  | 'no_event'
  | 'changed'
  | 'unexplained'

/** A finding as it is told. */
export type Told = Finding & { readonly count: number }

interface Finding {
  readonly kind: FindingKind
  /** So much like_count is off by this. */
  readonly off: number
  /** Ids of events, the first of them; of `no_event` users, of `doubled` and `uncounted` those that may be meant. */
  readonly of: readonly string[]
  /** Why it waits, or when it was. */
  readonly detail?: string
}

export interface Explained {
  readonly productId: number
  readonly likes: number
  /** Without what was handled after the moment. */
  readonly likeCount: number
  readonly findings: readonly Told[]
}

const net = (events: readonly { isLike: boolean }[]): number =>
  events.reduce((sum, event) => sum + effectOf(event), 0)

/** Something of it waits for somebody to decide. */
export const isWaiting = ({ findings }: Explained): boolean =>
  findings.some(({ kind }) => kind === 'parked' || kind === 'dead_letter')

/** Says what is wrong with a product; nothing is found where nothing is. Pure. */
export function explain(facts: Facts): Explained {
  const sorted = sortEvents(facts)
  const likeCount = (facts.likeCount ?? 0) - net(sorted.countedAfter)
  const { found, odd } = byMinutes(facts, sorted)
  const findings = accounted(likeCount - facts.likes, { found: [...waitingOf(sorted), ...found], odd }, facts)
  return { productId: facts.productId, likes: facts.likes, likeCount, findings }
}

function waitingOf({ parked, letters }: Sorted): Finding[] {
  const one = (kind: FindingKind, events: readonly (FactEvent & { reason: string })[]): Finding[] =>
    events.length === 0
      ? []
      : [{ kind, off: -net(events), of: events.map(({ id }) => id), detail: events[0]?.reason ?? '' }]
  return [...one('parked', parked), ...one('dead_letter', letters)]
}

type Side = 'added' | 'removed'
const sideOf = ({ isLike }: { isLike: boolean }): Side => (isLike ? 'added' : 'removed')

/** A finding that the minutes cannot confirm, since they are older than the outbox, and what else it may be. */
type Doubtful = Finding & { readonly otherwise?: Finding | null }
type Counted = 'yes' | 'no' | 'unknown'

interface ByMinutes {
  readonly found: readonly Doubtful[]
  /** What buckets have more, or less, than all events make up. */
  readonly odd: readonly Finding[]
}

/**
 * What the buckets say of each event whose effect is not certain: as many as they have more than the certain ones make up
 * were counted. What they have beyond all that was counted twice, or by nothing.
 */
function byMinutes(facts: Facts, sorted: Sorted): ByMinutes {
  const stretches = stretchesOf(facts.buckets, facts.coveredFromMs)
  for (const event of [...sorted.counted, ...sorted.countedAfter]) {
    const stretch = stretches.at(event.atMs)
    if (stretch) stretch[sideOf(event)] -= 1
  }
  // From here on: what the buckets have more than what is certain.
  const take = (event: { isLike: boolean; atMs: number }, amount: 1 | -1): Counted => {
    const stretch = stretches.at(event.atMs)
    if (!stretch) return 'unknown'
    if (stretch[sideOf(event)] * amount <= 0) return 'no'
    stretch[sideOf(event)] -= amount
    return 'yes'
  }
  const found: Doubtful[] = []
  const note = (told: Counted, finding: Finding, otherwise: Finding | null): void => {
    if (told === 'no') found.push(finding)
    else if (told === 'unknown') found.push({ ...finding, otherwise })
    else if (otherwise) found.push(otherwise)
  }
  for (const event of sorted.lost) {
    const kind = event.published ? 'missing' : 'unpublished'
    note(take(event, 1), of(kind, event.id, -effectOf(event)), of('forgotten', event.id, 0))
  }
  // Those that are counted all the same were brought in by a repair.
  for (const event of sorted.givenUp) note(take(event, 1), of('given_up', event.id, -effectOf(event)), null)
  for (const { userId, ...change } of sorted.silent)
    note(take(change, 1), of('no_event', String(userId), -effectOf(change)), null)
  for (const event of sorted.repeated) note(take(event, -1), of('repeated', event.id, effectOf(event)), null)
  for (const event of sorted.unknown) {
    const counted = of('unknown', event.id, effectOf(event))
    if (take(event, 1) === 'yes') found.push(counted)
    else found.push({ ...counted, otherwise: { ...counted, off: 0 } })
  }
  return { found, odd: stretches.all().flatMap((stretch) => oddOf(stretch, sorted)) }
}

const of = (kind: FindingKind, id: string, off: number): Finding => ({ kind, off, of: [id] })

const lengthsMs = { minute: 60_000, hour: 3_600_000, day: 86_400_000 }

function oddOf(stretch: Stretch, { counted, countedAfter }: Sorted): Finding[] {
  const { startMs, resolution } = stretch
  const detail = `${new Date(startMs).toISOString()}, ${resolution}`
  return (['added', 'removed'] as const).flatMap((side) => {
    const more = stretch[side]
    if (more === 0) return []
    const of = [...counted, ...countedAfter]
      .filter(
        (one) => sideOf(one) === side && one.atMs >= startMs && one.atMs < startMs + lengthsMs[resolution],
      )
      .map(({ id }) => id)
    return [{ kind: more > 0 ? ('doubled' as const) : ('uncounted' as const), off: side === 'added' ? more : -more, of, detail }] // prettier-ignore
  })
}

/** That is not in the count: its events were counted once each. */
const inBucketOnly = ({ kind, off, of, detail }: Finding): Finding => ({
  ...{ kind: 'bucket', off: 0, of },
  detail: `${detail ?? ''}: ${String(Math.abs(off))} too ${kind === 'doubled' ? 'many' : 'few'}`,
})

/** Makes the findings add up to what the count is off by, as far as that can be told. */
function accounted(off: number, { found, odd }: ByMinutes, facts: Facts): Told[] {
  const sum = (findings: readonly Finding[]) => findings.reduce((total, finding) => total + finding.off, 0)
  const sure = found.map(({ otherwise: _otherwise, ...finding }) => finding)
  const otherwise = found.flatMap(({ otherwise: other, ...finding }) =>
    other === undefined ? finding : (other ?? []),
  )
  // What the minutes do not tell is so or otherwise for all of it: whichever adds up.
  for (const some of [sure, otherwise]) if (sum(some) + sum(odd) === off) return grouped([...some, ...odd])
  // Counts of before there were minutes are in none of them, so that alone says nothing.
  const apart = (facts.likeCount ?? 0) - stretchesOf(facts.buckets, facts.coveredFromMs).net
  for (const some of [otherwise, sure]) {
    if (apart === 0 || sum(some) + sum(odd) + apart !== off) continue
    if (sum(odd) + apart === 0) return grouped([...some, ...odd.map(inBucketOnly)])
    return grouped([...some, ...odd, { kind: 'changed', off: apart, of: [] }])
  }
  return grouped([...sure, ...odd, { kind: 'unexplained', off: off - sum(sure) - sum(odd), of: [] }])
}

const namedMax = 100

/** Findings of one kind as one, with how many there are. */
function grouped(findings: readonly Finding[]): Told[] {
  const kinds = new Map<string, Told>()
  for (const { kind, off, of, detail } of findings) {
    const name = `${kind} ${detail ?? ''}`
    const known = kinds.get(name) ?? {
      kind,
      off: 0,
      count: 0,
      of: [],
      ...(detail !== undefined && { detail }),
    }
    const named = [...known.of, ...of].slice(0, namedMax)
    kinds.set(name, { ...known, off: known.off + off, count: known.count + of.length, of: named })
  }
  return [...kinds.values()]
}
