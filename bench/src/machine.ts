import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { cpus, platform, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Queryable, sql } from '@likewise/database'
import { type ServersKind, workspaceRoot } from '@likewise/local-servers'
import type { Machine } from './report.ts'

/** What a number depends on, so that two reports can be compared at all. */
export async function readMachine(options: {
  db: Queryable
  home: string
  servers: ServersKind
}): Promise<Machine> {
  const [settings] = await options.db.query<{ version: string; fsync: string; commit: string }>(sql`
    select current_setting('server_version') as version, current_setting('fsync') as fsync,
           current_setting('synchronous_commit') as commit`)
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryMb: Math.round(totalmem() / 1_048_576),
    os: `${platform()} ${release()}`,
    node: process.versions.node,
    postgres: settings?.version ?? 'unknown',
    kafka: await readKafkaVersion(options.home, options.servers),
    servers: options.servers === 'env' ? 'named in the environment' : options.servers,
    durability: `fsync=${settings?.fsync ?? '?'}, synchronous_commit=${settings?.commit ?? '?'}, acks=all`,
  }
}

/** No request of Kafka's protocol tells its version; its own log does. */
async function readKafkaVersion(home: string, servers: ServersKind): Promise<string> {
  if (servers === 'containers') return '4.3.1'
  const log = await readFile(join(home, 'logs', 'kafka.log'), 'utf8').catch(() => '')
  return /Kafka version: (\S+)/.exec(log)?.[1] ?? 'unknown'
}

/** The commit of the checkout, with a plus where files differ from it. */
export async function readCommit(): Promise<string> {
  const git = async (...args: string[]) =>
    (await promisify(execFile)('git', args, { cwd: workspaceRoot })).stdout.trim()
  try {
    const [commit, changes] = await Promise.all([
      git('rev-parse', '--short', 'HEAD'),
      git('status', '--porcelain'),
    ])
    return changes === '' ? commit : `${commit}+`
  } catch {
    return 'unknown' // an unpacked archive, or no git
  }
}
