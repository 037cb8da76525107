import { type Tx, sql } from '@likewise/database'
import { aggregateType } from '@likewise/events'
import { lockMarksOf, remember } from '@likewise/inbox'
import { lockProduct, setBuckets, setCount } from '@likewise/metrics'
import { type Facts, readFactsAgain, readOn } from './verify-facts.ts'
import { type Mending, mendingOf } from './verify-mend.ts'
import type { Moment, Sides } from './verify-moment.ts'
import { likeTypes } from './verify-sums.ts'

export interface Repaired {
  readonly productId: number
  readonly outcome: 'mended' | 'nothing to do' | 'not covered'
  /** null: there was none. */
  readonly was: number | null
  readonly likeCount: number
  readonly buckets: number
  readonly remembered: number
}

/** Looks into indexes only, but for a product of hundreds of thousands of events that takes a while, and batches wait. */
const repairTimeoutMs = 120_000
const limit = `${String(repairTimeoutMs)}ms`

type Of = Pick<Moment, 'ledger' | 'partitions'>

/**
 * Puts products right, one after the other. What is written meanwhile is read before each, for all that are left: so next to
 * nothing is left to read while batches wait.
 */
export async function* repairProducts(
  sides: Sides,
  moment: Of,
  { facts, actor }: { facts: readonly Facts[]; actor: string },
): AsyncGenerator<Repaired> {
  for (let left = facts; left.length > 0;) {
    const [next, ...others] = await sides.catalog.tx(
      (later) => readOn({ ...moment, later }, sides, left),
      repeatableRead,
    )
    if (next) yield await repairProduct(sides, moment, { facts: next, actor })
    left = others
  }
}

const repeatableRead = { isolation: 'RepeatableRead' } as const

/**
 * Puts a product right, in one transaction that holds the marks of its partitions and all that is counted of it: its batches
 * and redrives wait meanwhile. What it finds then decides, not what was found before.
 */
async function repairProduct(
  sides: Sides,
  { ledger, partitions }: Of,
  { facts, actor }: { facts: Facts; actor: string },
): Promise<Repaired> {
  const { metrics, catalog, consumer, topic } = sides
  const key = String(facts.productId)
  return metrics.tx(
    async (tx) => {
      // By the server: this process may be standing still while it holds the locks.
      await tx.execute(sql`
        select set_config('idle_in_transaction_session_timeout', ${limit}, true),
               set_config('statement_timeout', ${limit}, true), set_config('lock_timeout', '10s', true)`)
      await lockMarksOf(tx, { consumer, topic }, { key, partitions })
      await lockProduct(tx, BigInt(key))
      // Begun under the locks: all that was handled is in it.
      const now = await catalog.tx(
        (later) => readFactsAgain(facts, { ledger, handled: tx, later }, sides),
        repeatableRead,
      )
      const mending = mendingOf(now)
      const [productId, was] = [facts.productId, now.likeCount]
      const nothing = { productId, was, likeCount: was ?? 0, buckets: 0, remembered: 0 }
      if (mending === null) return { ...nothing, outcome: 'nothing to do' }
      if (mending === 'not covered') return { ...nothing, outcome: 'not covered' }
      await mend(tx, { now, mending, consumer, actor })
      return {
        ...{ productId, was, likeCount: Number(mending.likeCount), outcome: 'mended' },
        ...{ buckets: mending.buckets.length, remembered: mending.remember.length },
      }
    },
    { timeoutMs: repairTimeoutMs },
  )
}

async function mend(
  tx: Tx,
  { now, mending, consumer, actor }: { now: Facts; mending: Mending; consumer: string; actor: string },
): Promise<void> {
  const key = String(now.productId)
  const events = mending.remember.map(({ id, isLike }) => ({
    ...{ id, type: isLike ? likeTypes[0] : likeTypes[1], aggregateType, aggregateId: key },
  }))
  await remember(tx, consumer, events)
  await setBuckets(tx, mending.buckets)
  if (now.likeCount !== Number(mending.likeCount)) await setCount(tx, BigInt(key), mending.likeCount)
  const detail =
    `like_count ${String(now.likeCount ?? 'none')} -> ${String(mending.likeCount)}, ` +
    `${String(mending.buckets.length)} buckets, ${String(events.length)} ids remembered`
  await tx.execute(sql`
    insert into metrics.inbox_audit (actor, action, consumer, record_key, detail)
    values (${actor}, 'repair', ${consumer}, ${key}, ${detail})`)
}
