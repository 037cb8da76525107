import { uuidV7TimeMs } from '@likewise/events'
import type { Bucket } from '@likewise/metrics'
import type { FactEvent, Facts } from './verify-facts.ts'
import { effectOf, sortEvents } from './verify-sort.ts'
import { type Stretch, stretchesOf } from './verify-stretches.ts'

/** What puts a product right. */
export interface Mending {
  readonly likeCount: bigint
  readonly buckets: readonly Bucket[]
  /** Events that are counted then, and of which a copy must not be counted again. */
  readonly remember: readonly FactEvent[]
}

const sumOf = (changes: readonly { isLike: boolean }[]): number =>
  changes.reduce((sum, change) => sum + effectOf(change), 0)

/**
 * The count is the number of likes, less the events that wait, with those that were handled since; the buckets are the recount
 * of the outbox, as far back as it reaches. Both must fit then: the count is the sum of all buckets, or as far from it as it
 * was (counts of before there were buckets are in none). Else buckets that the outbox no longer covers are wrong.
 *
 * Pure. @returns null where nothing has to be changed.
 */
export function mendingOf(facts: Facts): Mending | 'not covered' | null {
  const sorted = sortEvents(facts)
  const waiting = new Set([...sorted.parked, ...sorted.letters].map(({ id }) => id))
  const repeated = new Set(sorted.repeated.map(({ id }) => id))
  const likeCount = facts.likes - sumOf([...sorted.parked, ...sorted.letters]) + sumOf(sorted.countedAfter)
  const truth = [
    ...facts.events.filter(({ id, committed }) => committed && !waiting.has(id) && !repeated.has(id)),
    ...sorted.countedAfter,
    ...sorted.silent,
  ]
  const is = facts.likeCount ?? 0
  const own = stretchesOf(facts.buckets, facts.coveredFromMs)
  const apart = is - own.net
  const choices = [differing(facts, truth), differing(facts, [...truth, ...sorted.unknown]), []]
  const apartOf = (buckets: readonly Difference[]): number =>
    likeCount - own.net - buckets.reduce((sum, { to, from }) => sum + netOf(to) - netOf(from), 0)
  const chosen =
    choices.find((buckets) => apartOf(buckets) === 0) ??
    choices.find((buckets) => apart !== 0 && apartOf(buckets) === apart)
  if (!chosen) return 'not covered'
  // The ring is one of ids of version 7; without such a one an event is parked, and known by its place.
  const remember = [...sorted.lost, ...sorted.givenUp].filter(
    ({ id }) => !facts.remembered.has(id) && uuidV7TimeMs(id) !== null,
  )
  if (likeCount === is && chosen.length === 0 && remember.length === 0) return null
  return { likeCount: BigInt(likeCount), buckets: chosen.map(({ to }) => bucketOf(facts, to)), remember }
}

interface Difference {
  readonly from: Stretch
  readonly to: Stretch
}

const netOf = ({ added, removed }: Stretch): number => added - removed

function differing(
  { buckets, coveredFromMs }: Facts,
  truth: readonly { isLike: boolean; atMs: number }[],
): Difference[] {
  const [from, to] = [stretchesOf(buckets, coveredFromMs), stretchesOf(buckets, coveredFromMs)]
  for (const stretch of to.all()) stretch.added = stretch.removed = 0
  for (const { isLike, atMs } of truth) {
    const stretch = to.at(atMs)
    if (stretch) stretch[isLike ? 'added' : 'removed'] += 1
  }
  return to.all().flatMap((wanted) => {
    const found = from.at(wanted.startMs)
    if (!found || (found.added === wanted.added && found.removed === wanted.removed)) return []
    return [{ from: found, to: wanted }]
  })
}

const bucketOf = ({ productId }: Facts, { startMs, resolution, added, removed }: Stretch): Bucket => ({
  ...{ productId: BigInt(productId), start: new Date(startMs), resolution },
  ...{ added: BigInt(added), removed: BigInt(removed) },
})
