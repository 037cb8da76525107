import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Failure } from '@likewise/service'
import { runCommand, tail } from './commands.ts'
import type { CommandOptions } from './commands.ts'
import { missingTool } from './missing-tool.ts'
import { postgresWays } from './postgres-binaries.ts'
import { give } from './postgres-place.ts'
import type { PostgresPlace } from './postgres-place.ts'

/** It takes half a second here; a slow disk under an antivirus took half a minute. */
const initTimeoutMs = 120_000

/** Nothing of the caller's PG* variables may reach a server of ours. */
export const postgresEnv = { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' }

/**
 * Makes the cluster and its database `likewise`, unless it is there. It is made beside and renamed, so a start that is
 * killed leaves no half-made cluster. Returns whether it was made now.
 */
export async function ensureCluster(place: PostgresPlace, password: string): Promise<boolean> {
  if (existsSync(join(place.data, 'PG_VERSION'))) return false
  await removeUnfinished(place.directory)
  const beside = await mkdtemp(`${place.data}.new-`)
  await give(beside, place.account)
  const data = join(beside, 'data')
  await initialise(place, { beside, data, password })
  await createDatabase(place, data)
  await rm(place.data, { recursive: true, force: true }) // without PG_VERSION it is no cluster
  await rename(data, place.data)
  await rm(beside, { recursive: true, force: true })
  return true
}

async function removeUnfinished(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!name.startsWith('18.new-')) continue
    await rm(join(directory, name), { recursive: true, force: true, maxRetries: 5 })
  }
}

async function initialise(
  place: PostgresPlace,
  cluster: { beside: string; data: string; password: string },
): Promise<void> {
  // A file, not standard input: another account may not open this process's pipe by its name.
  const passwordFile = join(cluster.beside, 'password')
  await writeFile(passwordFile, `${cluster.password}\n`, { mode: 0o600 })
  await give(passwordFile, place.account)
  const args = [
    `--pgdata=${cluster.data}`,
    '--username=postgres',
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    // The same order and case rules on every platform, without its C library.
    '--locale=C',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
    '--no-instructions',
  ]
  await run(place, 'initdb', args, {})
}

/** In single-user mode, so that no server has to be started and no client is needed. */
async function createDatabase(place: PostgresPlace, data: string): Promise<void> {
  const output = await run(place, 'postgres', ['--single', '-D', data, 'postgres'], {
    input: 'create database likewise\n',
  })
  // It exits 0 whatever became of the statement.
  if (/^.*\b(ERROR|FATAL|PANIC):/m.test(output)) throw refused('create database likewise', output)
}

async function run(
  place: PostgresPlace,
  program: 'initdb' | 'postgres',
  args: string[],
  options: Pick<CommandOptions, 'input'>,
): Promise<string> {
  const result = await runCommand(join(place.bin, program), args, {
    ...options,
    timeoutMs: initTimeoutMs,
    cwd: place.directory,
    env: postgresEnv,
    account: place.account,
  })
  if (result.ok) return result.output
  if (result.missing) {
    throw missingTool(`PostgreSQL's ${program} in ${place.bin} cannot be run.`, postgresWays, {
      cause: result.error,
    })
  }
  throw refused(program, result.output, result.error)
}

function refused(what: string, output: string, cause?: unknown): Failure {
  return new Failure(
    'DATABASE_UNAVAILABLE',
    `PostgreSQL could not be set up: ${what} failed:\n${tail(output)}`,
    { cause },
  )
}
