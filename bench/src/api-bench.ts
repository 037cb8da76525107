import { join } from 'node:path'
import { sql } from '@likewise/database'
import {
  type RunningProcess,
  freePort,
  nodeFlags,
  startProcess,
  until,
  workspaceRoot,
} from '@likewise/local-servers'
import type { Bed } from './bed.ts'
import { emptyOutbox } from './outbox-seed.ts'
import { writeByPgbench } from './pgbench.ts'
import { type Usage, readUsage } from './process-usage.ts'
import { type Part, partOf } from './report.ts'
import { type Load, isThere, sendByWrk } from './wrk.ts'

const connections = 64
const seconds = 10
const warmUpSeconds = 3

export interface Measured extends Load {
  readonly cpuSecondsPer100k: number | null
  readonly peakMb: number | null
}

/**
 * How many likes one like-api takes, beside the same server with nothing behind it, and beside PostgreSQL doing one
 * transaction per like; in turns, with one load generator for both servers.
 */
export async function benchApi(bed: Bed, repeats: number): Promise<Part[]> {
  if (!(await isThere('wrk'))) {
    bed.tell('api: left out, it needs wrk on the PATH (in Debian and in Homebrew the package is wrk).')
    return []
  }
  const withPgbench = await isThere('pgbench')
  bed.tell(
    `api: likes over HTTP by wrk, ${String(connections)} connections, ${String(seconds)} s after ${String(warmUpSeconds)} s of ` +
      'warm-up, each a new like; the limits in turns with it' +
      (withPgbench ? '.' : '; without pgbench, which is not on the PATH.'),
  )
  const [likes, bare, peer]: [Measured[], Measured[], Load[]] = [[], [], []]
  for (let i = 1; i <= repeats; i += 1) {
    bare.push(await measureBare(bed))
    await emptyTables(bed)
    if (withPgbench) {
      peer.push(
        await writeByPgbench({ databaseUrl: bed.catalogUrl, home: bed.home, clients: connections, seconds }),
      )
      await emptyTables(bed)
    }
    likes.push(
      await bed.withService('like-api', {}, ({ url, process }) => measureApi(bed, { url, pid: process.pid })),
    )
    bed.tell(
      `  api ${String(i)}/${String(repeats)}  ${[
        ['likes', likes.at(-1)],
        ['without database', bare.at(-1)],
        ['pgbench', peer.at(-1)],
      ]
        .flatMap(([name, load]) => (load ? [lineOf(name as string, load as Load)] : []))
        .join('; ')}`,
    )
  }
  return partsOf({ likes, bare, peer })
}

export const lineOf = (name: string, { perSecond, p50Ms, p99Ms }: Load): string =>
  `${name} ${perSecond.toFixed(0)}/s, p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms`

function partsOf({ likes, bare, peer }: { likes: Measured[]; bare: Measured[]; peer: Load[] }): Part[] {
  const rates = (loads: readonly Load[]) => loads.map(({ perSecond }) => perSecond)
  const cpu = (loads: readonly Measured[]) =>
    loads.flatMap(({ cpuSecondsPer100k }) => cpuSecondsPer100k ?? [])
  const peaks = likes.flatMap(({ peakMb }) => peakMb ?? [])
  const p99 = (loads: readonly Load[]) => loads.map(({ p99Ms }) => p99Ms)
  const server = 'the same server without database'
  const pgbench = 'pgbench, one transaction per like'
  return [
    partOf('api.likes', '1/s', rates(likes), { name: server, repeats: rates(bare) }),
    ...(peer.length > 0
      ? [
          partOf('api.likesVsPgbench', '1/s', rates(likes), { name: pgbench, repeats: rates(peer) }),
          partOf('api.p99', 'ms', p99(likes), { name: pgbench, repeats: p99(peer) }),
        ]
      : []),
    ...(peaks.length > 0 ? [partOf('api.rss', 'MB', peaks)] : []),
    ...(cpu(likes).length > 0
      ? [partOf('api.cpu', 's', cpu(likes), { name: server, repeats: cpu(bare) })]
      : []),
  ]
}

export async function emptyTables({ catalog }: Bed): Promise<void> {
  await emptyOutbox(catalog)
  await catalog.execute(sql`truncate catalog.likes`)
  await catalog.execute(sql`checkpoint`)
}

async function measureBare(bed: Bed): Promise<Measured> {
  const port = await freePort()
  const url = `http://127.0.0.1:${String(port)}`
  const process_ = await startProcess({
    home: bed.home,
    name: 'bare-api',
    command: process.execPath,
    args: [...nodeFlags, join(workspaceRoot, 'bench', 'dist', 'bare-api.js'), String(port)],
    env: { ...process.env, MALLOC_ARENA_MAX: '1' },
    logFile: join(bed.home, 'logs', 'bare-api.log'),
  })
  try {
    if (!(await until(() => answers(url), 20_000))) throw new Error(await process_.outputTail())
    return await measureApi(bed, { url, pid: process_.pid })
  } finally {
    await stop(process_)
  }
}

const stop = (bare: RunningProcess) => bare.stop('SIGKILL', 0)

const answers = (url: string): Promise<boolean> =>
  fetch(`${url}/livez`).then(
    ({ ok }) => ok,
    () => false,
  )

export async function measureApi(bed: Bed, { url, pid }: { url: string; pid: number }): Promise<Measured> {
  const target = { url: `${url}/api/likes`, home: bed.home, connections }
  await sendByWrk({ ...target, seconds: warmUpSeconds, firstUser: 1 })
  bed.stopping.throwIfAborted()
  const before = await readUsage(pid)
  const load = await sendByWrk({ ...target, seconds, firstUser: 1_000_000_000 })
  const after = await readUsage(pid)
  return { ...load, ...usedBetween(before, after, load.perSecond * seconds) }
}

const usedBetween = (before: Usage | null, after: Usage | null, likes: number) => ({
  cpuSecondsPer100k: before && after ? ((after.cpuSeconds - before.cpuSeconds) / likes) * 100_000 : null,
  peakMb: after?.peakMb ?? null,
})
