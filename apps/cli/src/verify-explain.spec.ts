import type { Remembered } from '@likewise/inbox'
import type { Bucket } from '@likewise/metrics'
import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { explain } from './verify-explain.ts'
import type { FactEvent, FactLetter, Facts } from './verify-facts.ts'
import { mendingOf } from './verify-mend.ts'
import { firstIdOf } from './verify-sums.ts'

const coveredFromMs = Date.parse('2030-01-02T01:00:00Z')
const beginMs = coveredFromMs + 3_600_000
const product = 7

/** What became of an event. */
const fates = ['counted', 'counted', 'counted', 'parked', 'letter', 'given up', 'given up and remembered', 'lost', 'forgotten', 'doubled'] as const // prettier-ignore
type Fate = (typeof fates)[number]

const histories = fc.array(
  fc.record({
    user: fc.integer({ min: 1, max: 4 }),
    afterMs: fc.integer({ min: 0, max: 4 * 3_600_000 }),
    fate: fc.constantFrom<Fate>(...fates),
    isLate: fc.boolean(),
  }),
  { maxLength: 30 },
)
type History = (typeof histories)['generate'] extends (...words: never[]) => { value: infer T } ? T : never

const idOf = (atMs: number, i: number): string =>
  firstIdOf(new Date(atMs)).slice(0, 24) + String(i).padStart(12, '0')

const minuteOf = (ms: number): number => Math.floor(ms / 60_000) * 60_000

interface World {
  readonly facts: Facts
  /** How often each kind of finding should be told. */
  readonly wanted: Record<string, number>
}

/** A product with this history: first what the moment sees, then what came after it and is counted. */
function worldOf(
  history: History,
  {
    changedBy = 0,
    older = 0,
    beforeRing = 0,
  }: { changedBy?: number; older?: number; beforeRing?: number } = {},
): World {
  const liked = new Map<number, number>()
  const events: FactEvent[] = []
  const remembered = new Map<string, Remembered>()
  const buckets = new Map<number, { added: number; removed: number }>()
  const held: Facts['held'][number][] = []
  const letters: FactLetter[] = []
  const wanted: Record<string, number> = {}
  const likers = new Map<number, number>()
  let likeCount = older
  let likes = older
  const inOrder = [...history.filter(({ isLate }) => !isLate), ...history.filter(({ isLate }) => isLate)]
  for (const [i, { user, afterMs, fate, isLate }] of inOrder.entries()) {
    // Of before the ring is whole: some rows are there, some are gone.
    const isOld = i < beforeRing
    const atMs = isOld ? coveredFromMs - 24 * hourMs + i : beginMs + afterMs
    const isLike = !liked.has(user)
    if (isLike) liked.set(user, atMs)
    else liked.delete(user)
    const [id, key] = [idOf(atMs, i), String(product)]
    if (!isOld || afterMs % 2 === 0)
      events.push({ id, isLike, userId: user, atMs, committed: !isLate, published: true })
    const effect = isLike ? 1 : -1
    if (!isLate) {
      likes += effect
      if (isLike) likers.set(user, atMs)
      else likers.delete(user)
    }
    const its: Fate = isLate ? 'counted' : fate
    const about = { key, eventType: 'x', handledAt: String(i) }
    const count = (times: number) => {
      const bucket = buckets.get(minuteOf(atMs)) ?? { added: 0, removed: 0 }
      bucket[isLike ? 'added' : 'removed'] += times
      buckets.set(minuteOf(atMs), bucket)
      likeCount += times * effect
    }
    const tell = (kind: string) => (wanted[kind] = (wanted[kind] ?? 0) + 1)
    const letter = { id: BigInt(i), key, eventId: id, eventType: 'catalog.like.added.v1', reason: 'failed' }
    const event = { id, partitionKey: key, eventType: isLike ? 'catalog.like.added.v1' : 'catalog.like.removed.v1', reason: 'refused', detail: 'large', resolvedAt: null } // prettier-ignore
    switch (its) {
      case 'counted':
      case 'doubled':
        remembered.set(id, { id, ...about, discarded: false })
        count(its === 'doubled' ? 2 : 1)
        if (its === 'doubled') tell('doubled')
        break
      case 'parked':
        held.push({ ...event, resolution: null })
        tell('parked')
        break
      case 'letter':
        letters.push({ ...letter, resolution: null, resolvedAt: null })
        tell('dead_letter')
        break
      case 'given up':
        held.push({ ...event, resolution: 'discarded' })
        tell('given_up')
        break
      case 'given up and remembered':
        letters.push({ ...letter, resolution: 'discarded', resolvedAt: String(i) })
        remembered.set(id, { id, ...about, discarded: true })
        tell('given_up')
        break
      case 'lost':
        tell('missing')
        break
      case 'forgotten':
        count(1)
        tell('forgotten')
        break
    }
  }
  if (changedBy !== 0) wanted['changed'] = 1
  const facts: Facts = {
    ...{ productId: product, coveredFromMs, seenBy: '', likes, likers, events, remembered, held, letters },
    likeCount: likeCount + changedBy,
    buckets: [...buckets].map(([start, { added, removed }]) => bucketOf(start, added, removed)),
  }
  return { facts, wanted }
}

const hourMs = 3_600_000

/** As a roll-up leaves them that was interrupted: every other hour in one. */
function rolledUp(buckets: readonly Bucket[]): Bucket[] {
  const hours = new Map<number, Bucket>()
  const minutes: Bucket[] = []
  for (const bucket of buckets) {
    const startMs = Math.floor(bucket.start.getTime() / hourMs) * hourMs
    const hour = hours.get(startMs) ?? { ...bucketOf(startMs, 0, 0), resolution: 'hour' as const }
    if ((startMs / hourMs) % 2 === 0) minutes.push(bucket)
    else
      hours.set(startMs, {
        ...hour,
        added: hour.added + bucket.added,
        removed: hour.removed + bucket.removed,
      })
  }
  return [...minutes, ...hours.values()]
}

const bucketOf = (startMs: number, added: number, removed: number): Bucket => ({
  ...{ productId: BigInt(product), start: new Date(startMs), resolution: 'minute' },
  ...{ added: BigInt(added), removed: BigInt(removed) },
})

/** As a repair leaves them. */
function mended(facts: Facts): Facts {
  const mending = mendingOf(facts)
  if (mending === 'not covered') throw new Error('not covered')
  if (mending === null) return facts
  const lengthsMs = { minute: 60_000, hour: hourMs, day: 24 * hourMs }
  const isSet = ({ start }: Bucket) =>
    mending.buckets.some((to) => {
      const ms = start.getTime() - to.start.getTime()
      return ms >= 0 && ms < lengthsMs[to.resolution]
    })
  const buckets = [...facts.buckets.filter((bucket) => !isSet(bucket)), ...mending.buckets]
  const remembered = new Map(facts.remembered)
  for (const { id } of mending.remember)
    remembered.set(id, { id, key: String(product), eventType: 'x', handledAt: 'repair', discarded: false })
  return { ...facts, likeCount: Number(mending.likeCount), buckets, remembered }
}

describe('the explanation of a product', () => {
  it('names what became of each event, however many things are wrong at once, and adds up', () => {
    fc.assert(
      fc.property(histories, fc.constantFrom(0, 0, 5, -3), fc.boolean(), (history, changedBy, isRolledUp) => {
        const { facts: own, wanted } = worldOf(history, { changedBy })
        const facts = isRolledUp ? { ...own, buckets: rolledUp(own.buckets) } : own
        const { findings, likes, likeCount } = explain(facts)
        expect(findings.reduce((sum, { off }) => sum + off, 0)).toBe(likeCount - likes)
        const told = new Map<string, number>()
        for (const { kind, off, count } of findings) {
          const many = kind === 'doubled' ? Math.abs(off) : kind === 'changed' ? 1 : count
          told.set(kind, (told.get(kind) ?? 0) + many)
        }
        // A bucket in which an event is lost and another was counted twice says only that so many were counted.
        if (wanted['doubled'] === undefined) expect(Object.fromEntries(told)).toEqual(wanted)
        else expect(findings.some(({ kind }) => kind === 'unexplained')).toBe(false)
      }),
      { numRuns: 500 },
    )
  })

  it('finds nothing where nothing is wrong, also with counts from before there were minutes', () => {
    fc.assert(
      fc.property(histories, fc.integer({ min: 0, max: 50 }), (history, older) => {
        const right = history.map((one) => ({ ...one, fate: 'counted' as const }))
        const { facts } = worldOf(right, { older })
        expect(explain(facts).findings).toEqual([])
        expect(mendingOf(facts)).toBeNull()
      }),
      { numRuns: 300 },
    )
  })

  it('finds nothing where nothing is wrong, also where the outbox has lost some of its older events', () => {
    fc.assert(
      fc.property(histories, fc.integer({ min: 1, max: 20 }), (history, beforeRing) => {
        const right = history.map((one) => ({ ...one, fate: 'counted' as const, isLate: false }))
        const { facts } = worldOf(right, { beforeRing })
        expect(explain(facts).findings).toEqual([])
        expect(mendingOf(facts)).toBeNull()
      }),
      { numRuns: 500 },
    )
  })

  it('names buckets that are lost, while the count is right', () => {
    fc.assert(
      fc.property(histories, fc.integer({ min: 0, max: 29 }), (history, lost) => {
        const right = history.map((one) => ({ ...one, fate: 'counted' as const }))
        const { facts } = worldOf(right)
        const gone = facts.buckets[lost % facts.buckets.length]
        fc.pre(gone !== undefined && gone.added !== gone.removed)
        const without = { ...facts, buckets: facts.buckets.filter((bucket) => bucket !== gone) }
        const { findings } = explain(without)
        expect(findings.map(({ kind, off }) => [kind, off])).toContainEqual(['bucket', 0])
        expect(findings.every(({ kind }) => kind === 'bucket')).toBe(true)
        expect(explain(mended(without)).findings).toEqual([])
      }),
      { numRuns: 300 },
    )
  })
})

describe('a repair', () => {
  it('leaves a count that is right but for what waits, and nothing for a second one to do', () => {
    fc.assert(
      fc.property(histories, fc.constantFrom(0, 0, 5, -3), fc.boolean(), (history, changedBy, isRolledUp) => {
        const { facts: own } = worldOf(history, { changedBy })
        const facts = isRolledUp ? { ...own, buckets: rolledUp(own.buckets) } : own
        const after = mended(facts)
        const { findings, likes, likeCount } = explain(after)
        const left = findings.filter(({ kind }) => kind !== 'parked' && kind !== 'dead_letter')
        expect(left).toEqual([])
        expect(likeCount - likes).toBe(findings.reduce((sum, { off }) => sum + off, 0))
        const net = after.buckets.reduce((sum, { added, removed }) => sum + Number(added - removed), 0)
        expect(net).toBe(after.likeCount)
        expect(mendingOf(after)).toBeNull()
      }),
      { numRuns: 500 },
    )
  })
})
