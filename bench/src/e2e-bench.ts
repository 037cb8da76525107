import { type Database, sql } from '@likewise/database'
import { pause } from '@likewise/service'
import type { Bed } from './bed.ts'
import { type Answer, type Likes, connectLikes } from './likes.ts'
import { type Part, partOf, percentile } from './report.ts'

const likesPerSecond = 200
const seconds = 20
const warmUpSeconds = 30
const pollMs = 3
/** Far beyond any latency worth a number. */
const arrivalLimitMs = 30_000

/** How long a committed like takes until its count is there for every reader. */
export async function benchEndToEnd(bed: Bed, repeats: number): Promise<Part[]> {
  bed.tell(
    `e2e: ${String(likesPerSecond)} likes/s for ${String(seconds)} s, open loop, over two like-apis, one relay, one ` +
      `consumer; each like has a product of its own. One connection asks every ${String(pollMs)} ms which products have a ` +
      'count; the latency of a like is from its HTTP answer to the first look that shows it.',
  )
  return bed.withService('metrics-consumer', {}, () =>
    bed.withService('outbox-relay', {}, () =>
      bed.withService('like-api', {}, (first) =>
        bed.withService('like-api', {}, async (second) => {
          const likes = connectLikes([first.url, second.url])
          try {
            return await repeat(bed, likes, repeats)
          } finally {
            likes.close()
          }
        }),
      ),
    ),
  )
}

async function repeat(bed: Bed, likes: Likes, repeats: number): Promise<Part[]> {
  const p50: number[] = []
  const p99: number[] = []
  // Above every product of the other parts: a count that is there already would be seen too early.
  let firstProduct = 1_000_001
  await measure(bed, likes, { firstProduct, count: warmUpSeconds * likesPerSecond })
  for (let i = 1; i <= repeats; i += 1) {
    firstProduct += 1_000_000
    const { latencies, answers } = await measure(bed, likes, {
      firstProduct,
      count: seconds * likesPerSecond,
    })
    p50.push(percentile(latencies, 0.5))
    p99.push(percentile(latencies, 0.99))
    const took = answers.map(({ tookMs }) => tookMs)
    const ms = (values: readonly number[]) =>
      `p50 ${percentile(values, 0.5).toFixed(1)} ms, p99 ${percentile(values, 0.99).toFixed(1)} ms`
    bed.tell(
      `  e2e ${String(i)}/${String(repeats)}  ${ms(latencies)} to the count; the answer itself ${ms(took)}`,
    )
  }
  return [partOf('e2e.p50', 'ms', p50), partOf('e2e.p99', 'ms', p99)]
}

async function measure(
  bed: Bed,
  likes: Likes,
  { firstProduct, count }: { firstProduct: number; count: number },
): Promise<{ latencies: number[]; answers: Answer[] }> {
  const products = Array.from({ length: count }, (_, i) => firstProduct + i)
  const failed = new AbortController()
  const stopping = AbortSignal.any([bed.stopping, failed.signal])
  const fail = (error: unknown) => {
    failed.abort(error)
    throw error
  }
  const [answers, seen] = await Promise.all([
    likes.send({ perSecond: likesPerSecond, products, stopping }).catch(fail),
    watchCounts(bed.metrics, { firstProduct, count, stopping }).catch(fail),
  ])
  const latencies = products.map((id) => (seen.get(id) ?? NaN) - (answers.get(id)?.atMs ?? NaN))
  return { latencies, answers: [...answers.values()] }
}

/** When each product was first seen with a count, by process time. Asks from the lowest one that is missing on. */
async function watchCounts(
  db: Database,
  { firstProduct, count, stopping }: { firstProduct: number; count: number; stopping: AbortSignal },
): Promise<Map<number, number>> {
  const seen = new Map<number, number>()
  const deadlineMs = performance.now() + (count / likesPerSecond) * 1000 + arrivalLimitMs
  let lowest = firstProduct
  while (seen.size < count) {
    stopping.throwIfAborted()
    if (performance.now() > deadlineMs) {
      throw new Error(`${String(count - seen.size)} of ${String(count)} likes were not counted in time.`)
    }
    const rows = await db.query<{ id: number }>(sql`
      select product_id::float8 as id from metrics.product_metrics
      where product_id >= ${lowest} and product_id < ${firstProduct + count}`)
    const atMs = performance.now()
    for (const { id } of rows) if (!seen.has(id)) seen.set(id, atMs)
    while (seen.has(lowest)) lowest += 1
    await pause(pollMs, stopping)
  }
  return seen
}
