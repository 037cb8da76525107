import { sql } from '@likewise/database'
import { type PgBouncer, pgBouncerMissing, startPgBouncer } from '@likewise/database/testing'
import { type Measured, emptyTables, lineOf, measureApi } from './api-bench.ts'
import type { Bed } from './bed.ts'
import { type Drain, drainLine } from './drain.ts'
import { emptyOutbox } from './outbox-seed.ts'
import { drainBacklog } from './relay-drain.ts'
import { readUsage } from './process-usage.ts'
import { type Part, partOf } from './report.ts'
import { isThere } from './wrk.ts'

/** That of deploy/pgbouncer: more than a like-api or a relay has in use. */
const poolSize = 20

interface Pair<T> {
  pooled: T[]
  direct: T[]
}

/**
 * What the way through PgBouncer costs: likes over HTTP and a drain, each beside the same without it, in pairs of which every
 * other one begins with the pooler. It runs on the same cores as all the rest.
 */
export async function benchPooler(bed: Bed, repeats: number): Promise<Part[]> {
  const missing = pgBouncerMissing()
  if (missing !== undefined) {
    bed.tell(`pooler: left out. ${missing}`)
    return []
  }
  const pooler = await startPgBouncer(bed.catalogUrl, poolSize)
  try {
    return [...(await benchDrains(bed, pooler, repeats)), ...(await benchLikes(bed, pooler, repeats))]
  } finally {
    await pooler.stop()
  }
}

const limitName = 'the same without the pooler'

async function benchDrains(bed: Bed, pooler: PgBouncer, repeats: number): Promise<Part[]> {
  bed.tell('pooler.drain: the backlog of relay.drain, through PgBouncer and without it.')
  const { pooled, direct } = await inPairs({ pooler, repeats }, async (env, name) => {
    await emptyOutbox(bed.catalog)
    const drain = await drainBacklog(bed, env)
    bed.tell(drainLine(`relay ${name}`, drain))
    return drain
  })
  const rates = (drains: readonly Drain[]) => drains.map(({ perSecond }) => perSecond)
  return [
    partOf('pooler.drain', '1/s', rates(pooled), { name: limitName, repeats: rates(direct) }),
    ...cpuParts('pooler.drain.cpu', { pooled, direct }),
  ]
}

async function benchLikes(bed: Bed, pooler: PgBouncer, repeats: number): Promise<Part[]> {
  if (!(await isThere('wrk'))) {
    bed.tell('pooler.likes: left out, it needs wrk on the PATH.')
    return []
  }
  bed.tell('pooler.likes: the load of api.likes, through PgBouncer and without it.')
  const ofPgBouncer: number[] = []
  const { pooled, direct } = await inPairs({ pooler, repeats }, async (env, name) => {
    await emptyTables(bed)
    const before = await readUsage(pooler.pid())
    const load = await bed.withService('like-api', env, ({ url, process }) =>
      measureApi(bed, { url, pid: process.pid }),
    )
    const after = await readUsage(pooler.pid())
    bed.tell(`  ${lineOf(name, load)}`)
    if (before && after && 'CATALOG_DATABASE_URL' in env)
      ofPgBouncer.push(((after.cpuSeconds - before.cpuSeconds) / (await countLikes(bed))) * 100_000)
    return load
  })
  const of = (loads: readonly Measured[], what: 'perSecond' | 'p99Ms') => loads.map((load) => load[what])
  const limit = (what: 'perSecond' | 'p99Ms') => ({ name: limitName, repeats: of(direct, what) })
  return [
    partOf('pooler.likes', '1/s', of(pooled, 'perSecond'), limit('perSecond')),
    partOf('pooler.p99', 'ms', of(pooled, 'p99Ms'), limit('p99Ms')),
    ...cpuParts('pooler.cpu', { pooled, direct }),
    ...(ofPgBouncer.length > 0 ? [partOf('pooler.pgbouncer', 's', ofPgBouncer)] : []),
  ]
}

/** Those of the warm-up, too. */
async function countLikes({ catalog }: Bed): Promise<number> {
  const [row] = await catalog.query<{ n: number }>(sql`select count(*)::int as n from catalog.likes`)
  return row?.n ?? 0
}

/** Of the process that uses the pooler, not of PgBouncer; none where it cannot be read (no /proc). */
function cpuParts(name: string, { pooled, direct }: Pair<Pick<Drain, 'cpuSecondsPer100k'>>): Part[] {
  const cpu = (runs: readonly Pick<Drain, 'cpuSecondsPer100k'>[]) =>
    runs.flatMap(({ cpuSecondsPer100k }) => cpuSecondsPer100k ?? [])
  if (cpu(pooled).length === 0) return []
  return [partOf(name, 's', cpu(pooled), { name: limitName, repeats: cpu(direct) })]
}

type Env = Readonly<Record<string, string>>

async function inPairs<T>(
  { pooler, repeats }: { pooler: PgBouncer; repeats: number },
  run: (env: Env, name: string) => Promise<T>,
): Promise<Pair<T>> {
  const pair: Pair<T> = { pooled: [], direct: [] }
  const ways = ['pooled', 'direct'] as const
  for (let i = 1; i <= repeats; i += 1) {
    for (const way of i % 2 === 1 ? ways : ways.toReversed()) {
      const env = way === 'pooled' ? { CATALOG_DATABASE_URL: pooler.url } : {}
      pair[way].push(await run(env, `${way} ${String(i)}/${String(repeats)}`))
    }
  }
  return pair
}
