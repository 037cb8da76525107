import { sql } from '@likewise/database'
import type { Answer } from './likes.ts'
import type { System } from './system.ts'

type Databases = Pick<System, 'catalog' | 'metrics'>

interface Counts {
  /** Products whose like_count is not the number of their likes (promise I3). */
  drifted: { productId: number; likes: number; likeCount: number }[]
  /** Committed events without their mark, and marks without a committed event (I1, I5). */
  unhandled: number
  unknown: number
  deadLetters: number
}

/** Looks at both sides at once; true numbers only when things are quiet. */
export async function readCounts({ catalog, metrics }: Databases): Promise<Counts> {
  const [likes, counted, events, handled, letters] = await Promise.all([
    catalog.query<{ id: bigint; n: bigint }>(
      sql`select product_id as id, count(*) as n from catalog.likes group by 1`,
    ),
    metrics.query<{ id: bigint; n: bigint }>(
      sql`select product_id as id, like_count as n from metrics.product_metrics`,
    ),
    catalog.query<{ id: string }>(sql`select id::text from catalog.outbox_events`),
    metrics.query<{ id: string }>(sql`select event_id::text as id from metrics.event_handled`),
    metrics.query<{ n: bigint }>(
      sql`select count(*) as n from metrics.dead_letters where resolved_at is null`,
    ),
  ])
  const likesOf = new Map(likes.map(({ id, n }) => [Number(id), Number(n)]))
  const countOf = new Map(counted.map(({ id, n }) => [Number(id), Number(n)]))
  const products = new Set([...likesOf.keys(), ...countOf.keys()])
  const [written, marked] = [new Set(events.map(({ id }) => id)), new Set(handled.map(({ id }) => id))]
  return {
    drifted: [...products]
      .map((productId) => ({
        productId,
        likes: likesOf.get(productId) ?? 0,
        likeCount: countOf.get(productId) ?? 0,
      }))
      .filter(({ likes: n, likeCount }) => n !== likeCount),
    unhandled: [...written].filter((id) => !marked.has(id)).length,
    unknown: [...marked].filter((id) => !written.has(id)).length,
    deadLetters: Number(letters[0]?.n ?? 0),
  }
}

export const settled: Counts = { drifted: [], unhandled: 0, unknown: 0, deadLetters: 0 }

export async function isSettled(databases: Databases): Promise<boolean> {
  return JSON.stringify(await readCounts(databases)) === JSON.stringify(settled)
}

/** Likes that were answered 2xx and are not in the table (I1); each pair must have been asked for once only. */
export async function lostLikes(
  { catalog }: Pick<System, 'catalog'>,
  answers: readonly Answer[],
): Promise<Answer[]> {
  const rows = await catalog.query<{ u: bigint; p: bigint }>(
    sql`select user_id as u, product_id as p from catalog.likes`,
  )
  const present = new Set(rows.map(({ u, p }) => `${u}/${p}`))
  return answers.filter(
    ({ status = 0, userId, productId }) =>
      status >= 200 && status < 300 && !present.has(`${userId}/${productId}`),
  )
}
