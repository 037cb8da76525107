import { mkdir, realpath, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Failure, pause } from '@likewise/service'
import type { Logger } from '@likewise/service'
import { postgresAnswers } from './answers.ts'
import { postgresPassword } from './home.ts'
import { runServer } from './local-server.ts'
import type { EmbeddedServer } from './local-server.ts'
import { choosePort } from './ports.ts'
import { findPostgresBinaries } from './postgres-binaries.ts'
import { ensureCluster, postgresEnv } from './postgres-cluster.ts'
import { findPlace, give } from './postgres-place.ts'
import type { PostgresPlace } from './postgres-place.ts'
import { startProcess } from './processes.ts'
import type { RunningProcess } from './processes.ts'
import { until } from './until.ts'

/** A start takes 0.1 s; recovery after a kill reads at most a checkpoint's worth of log. */
const startTimeoutMs = 60_000
const stopGraceMs = 15_000
const retryMs = 100

export interface EmbeddedPostgres extends EmbeddedServer {
  /** To the database `likewise`, as superuser. */
  readonly url: string
  /** To the database `postgres`: for creating and dropping others. */
  readonly adminUrl: string
}

/**
 * A PostgreSQL 18 of this home's own, ready to accept connections. What an earlier run left behind must have been ended
 * before (endLeftovers).
 */
export async function startEmbeddedPostgres(options: {
  home: string
  port?: number | undefined
  log: Logger
  /** PEM; `clientCa`: clients must show a certificate of it. With it nobody gets in without TLS. */
  tls?: { cert: string; key: string; clientCa?: string }
}): Promise<EmbeddedPostgres> {
  await mkdir(options.home, { recursive: true })
  const home = await realpath(options.home)
  const place = await findPlace(home, await findPostgresBinaries())
  const password = await postgresPassword(home)
  const began = performance.now()
  if (await ensureCluster(place, password)) {
    options.log.info(
      { data: place.data, ms: Math.round(performance.now() - began) },
      'PostgreSQL cluster made',
    )
  }
  const port = await choosePort({
    asked: options.port,
    file: join(home, 'postgres', 'port'),
    server: 'PostgreSQL',
  })
  const tls = options.tls ? await tlsSettings(place, options.tls) : {}
  const server = await runServer({
    port,
    launch: () => launch({ home, place, port, log: options.log, tls }),
    stop: (running) => running.stop('SIGINT', stopGraceMs), // fast shutdown: does not wait for clients
  })
  const urlTo = (database: string) => `postgresql://postgres:${password}@127.0.0.1:${port}/${database}`
  return Object.assign(server, { url: urlTo('likewise'), adminUrl: urlTo('postgres') })
}

interface Launch {
  home: string
  place: PostgresPlace
  port: number
  log: Logger
  tls: Readonly<Record<string, string>>
}

async function launch(options: Launch): Promise<RunningProcess> {
  const began = performance.now()
  const deadline = began + startTimeoutMs
  for (;;) {
    const running = await spawnPostgres(options)
    const answers = async () => running.hasExited() || (await postgresAnswers(options.port))
    const answered = await until(answers, deadline - performance.now())
    if (answered && !running.hasExited()) {
      options.log.info(
        { port: options.port, ms: Math.round(performance.now() - began) },
        'PostgreSQL started',
      )
      return running
    }
    await running.stop('SIGKILL', 0)
    const output = await running.outputTail()
    // Killed a moment ago, its backends may still be finishing a statement: they hold the memory until they notice.
    if (!output.includes('shared memory block') || performance.now() >= deadline) {
      throw new Failure(
        'DATABASE_UNAVAILABLE',
        `PostgreSQL did not start on 127.0.0.1:${options.port}:\n${output}`,
      )
    }
    await pause(retryMs)
  }
}

/** Beside the data, where the server's account can read them, and nobody else: PostgreSQL refuses a key that others can. */
async function tlsSettings(
  place: PostgresPlace,
  { cert, key, clientCa }: { cert: string; key: string; clientCa?: string },
): Promise<Record<string, string>> {
  const write = async (name: string, text: string): Promise<string> => {
    const file = join(place.directory, name)
    await writeFile(file, text, { mode: 0o600 })
    await give(file, place.account)
    return file
  }
  const clients = clientCa === undefined ? '' : ' clientcert=verify-ca'
  return {
    ssl: 'on',
    ssl_cert_file: await write('server.crt', cert),
    ssl_key_file: await write('server.key', key),
    hba_file: await write('pg_hba.conf', `hostssl all all all scram-sha-256${clients}\n`),
    ...(clientCa !== undefined && { ssl_ca_file: await write('clients.crt', clientCa) }),
  }
}

function spawnPostgres({ home, place, port, tls }: Launch): Promise<RunningProcess> {
  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    wal_level: 'logical',
    max_connections: 200,
    fsync: 'on',
    synchronous_commit: 'on',
    timezone: 'UTC',
    log_timezone: 'UTC',
    ...tls,
  }
  return startProcess({
    home,
    name: 'postgres',
    command: join(place.bin, 'postgres'),
    args: [
      '-D',
      place.data,
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ],
    logFile: join(home, 'logs', 'postgres.log'),
    env: postgresEnv,
    cwd: place.directory,
    ...(place.account === undefined ? {} : { uid: place.account.uid, gid: place.account.gid }),
  })
}
