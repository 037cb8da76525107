import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'

export type PgBouncer = {
  /** What a service is given: `url` through the pooler, with pgbouncer=true. */
  url: string
  /** Kills it, with all that it has in hand, and starts it again on the same port. */
  restart: () => Promise<void>
  pid: () => number
  /** Connections now: of its clients, and those it has to PostgreSQL. */
  connections: () => Promise<{ clients: number; servers: number }>
  stop: () => Promise<void>
}

// Debian has it where only root's PATH looks.
const findProgram = (): string | undefined =>
  ['pgbouncer', '/usr/sbin/pgbouncer'].find((file) => spawnSync(file, ['--version']).status === 0)

/** Why there can be no pooler here; undefined where there can. */
export const pgBouncerMissing = (): string | undefined =>
  findProgram() === undefined ? 'There is no pgbouncer on the PATH: apt-get install pgbouncer.' : undefined

/** A PgBouncer in transaction mode in front of the server and database of `url`, with at most `poolSize` connections to it. */
export async function startPgBouncer(
  url: string,
  poolSize: number,
  settings: string[] = [],
): Promise<PgBouncer> {
  const program = String(findProgram())
  const dir = await mkdtemp(join(tmpdir(), 'likewise-pgbouncer-'))
  const port = await freePort()
  await writeConfig({ dir, port, target: new URL(url), poolSize, settings })
  const launch = async (): Promise<ChildProcess> => {
    // Root may not run it; it changes to that account by itself.
    const account = process.getuid?.() === 0 ? ['-u', 'nobody'] : []
    const child = spawn(program, ['-q', ...account, join(dir, 'pgbouncer.ini')], { stdio: 'ignore' })
    await Promise.race([
      answers(port),
      once(child, 'exit').then(() => Promise.reject(new Error('pgbouncer ended'))),
    ])
    return child
  }
  const kill = async (child: ChildProcess): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
  let running = await launch()
  const through = new URL(url)
  through.host = `127.0.0.1:${port}`
  const console = new URL(through)
  console.pathname = '/pgbouncer'
  through.searchParams.set('pgbouncer', 'true')
  return {
    url: through.href,
    restart: async () => {
      await kill(running)
      running = await launch()
    },
    pid: () => Number(running.pid),
    connections: () => countConnections(console.href, new URL(url).pathname.slice(1)),
    stop: async () => {
      await kill(running)
      await rm(dir, { recursive: true })
    },
  }
}

interface Config {
  dir: string
  port: number
  target: URL
  poolSize: number
  settings: string[]
}

async function writeConfig({ dir, port, target, poolSize, settings }: Config): Promise<void> {
  const database = target.pathname.slice(1)
  const [user, password] = [target.username, target.password].map(decodeURIComponent)
  const lines = [
    '[databases]',
    `${database} = host=${target.hostname} port=${target.port || '5432'} dbname=${database}`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'auth_type = scram-sha-256',
    `auth_file = ${join(dir, 'users.txt')}`,
    `admin_users = ${user}`,
    'pool_mode = transaction',
    `default_pool_size = ${poolSize}`,
    'max_client_conn = 200',
    // Its own 15 s would be added to each restart of PostgreSQL.
    'server_login_retry = 1',
    ...settings,
  ]
  await chmod(dir, 0o755)
  await writeFile(join(dir, 'users.txt'), `"${user}" "${password}"\n`)
  await writeFile(join(dir, 'pgbouncer.ini'), `${lines.join('\n')}\n`)
}

async function countConnections(
  url: string,
  database: string,
): Promise<{ clients: number; servers: number }> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const count = async (what: 'clients' | 'servers') => {
      const { rows } = await client.query<{ database: string }>(`show ${what}`)
      return rows.filter((row) => row.database === database).length
    }
    return { clients: await count('clients'), servers: await count('servers') }
  } finally {
    await client.end()
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Resolves when something accepts connections. */
async function answers(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    const open = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    })
    socket.destroy()
    if (open) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
