import { Socket } from 'node:net'
import { PrismaPg } from '@prisma/adapter-pg'
import type { DatabaseOptions } from './database.ts'

// The server's statement_timeout must win the race: its answer says that the statement is rolled back, while a
// connection that fell silent leaves the outcome unknown. Half a second is a slow network plus a busy server.
const silenceMarginMs = 500

export interface Connections {
  adapter: PrismaPg
  /** Cuts what is still open, for a stop that must not wait for a dead server. */
  destroyAll: () => void
}

export function pooledConnections(options: DatabaseOptions): Connections {
  const sockets = new Set<Socket>()
  const silence = silenceLimit(options)
  const { connectionString, startupOptions, throughPooler } = splitUrl(options.url)
  // A connection that dies while it is idle is the adapter's to hear of: it listens to the pool's errors by itself.
  const adapter = new GuardedPrismaPg(
    {
      connectionString,
      max: options.poolSizeMax,
      connectionTimeoutMillis: options.connectTimeoutMs,
      application_name: options.applicationName,
      options: `${serverSettings(options)} ${startupOptions}`.trim(),
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      stream: () => openSocket(silence, sockets),
    },
    silence,
    throughPooler ? undefined : { statementNameGenerator: statementNames() },
  )
  return {
    adapter,
    destroyAll: () => {
      for (const socket of sockets)
        socket.destroy(timedOut('Connection terminated: the database client was stopped'))
    },
  }
}

function openSocket(silence: SilenceLimit, sockets: Set<Socket>): Socket {
  const socket = new Socket()
  sockets.add(socket)
  socket.once('close', () => sockets.delete(socket))
  // Until the server's first word; the rest of the opening is bounded by connectionTimeoutMillis.
  silence.watch(socket)
  socket.once('data', () => {
    silence.ignore(socket)
  })
  return socket
}

interface SilenceLimit {
  watch: (socket: Socket) => void
  ignore: (socket: Socket) => void
}

// pg's own query_timeout returns the error but keeps the connection, with the statement still running in it and a
// ROLLBACK that was never sent. A socket that destroys itself after too long a silence fails everything on it at once.
// One that lies idle in the pool is silent by right: cutting it made a quiet service open one for nearly every request.
function silenceLimit(options: DatabaseOptions): SilenceLimit {
  if (options.statementTimeoutMs === 0) return { watch: () => undefined, ignore: () => undefined }
  const limitMs = Math.max(options.statementTimeoutMs, options.lockTimeoutMs ?? 0) + silenceMarginMs
  function cut(this: Socket): void {
    this.destroy(timedOut(`no word from PostgreSQL for ${limitMs} ms`))
  }
  return {
    watch: (socket) => socket.setTimeout(limitMs, cut),
    ignore: (socket) => socket.setTimeout(0, cut), // takes `cut` away too
  }
}

function timedOut(message: string): Error {
  return Object.assign(new Error(message), { code: 'ETIMEDOUT' })
}

/** Set at connect, as `options` of the startup packet: no round trip, and no window in which they are not yet set. */
function serverSettings(options: DatabaseOptions): string {
  const settings = {
    TimeZone: 'UTC',
    synchronous_commit: 'on',
    // Compiling a statement costs more than any of ours, and is done at each execution, prepared or not. Over the ring's
    // partitions the planner's estimates pass the limit that it begins at.
    jit: 'off',
    statement_timeout: options.statementTimeoutMs,
    idle_in_transaction_session_timeout: options.statementTimeoutMs,
    ...(options.lockTimeoutMs !== undefined && { lock_timeout: options.lockTimeoutMs }),
  }
  return Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(' ')
}

const namesMax = 100

/**
 * A name for each text with parameters, up to a bound: PostgreSQL then parses and plans it once per connection. Planning
 * over the ring's partitions was most of what a small statement cost; with names, a like is visible in half the time
 * (p50 111 → 40 ms at 200 likes/s on two cores), and draining is as fast as before. A text without parameters may hold
 * several statements, which cannot be named.
 */
function statementNames(): (query: { sql: string; args: unknown[] }) => string {
  const names = new Map<string, string>()
  return ({ sql, args }) => {
    const known = names.get(sql)
    if (known !== undefined || args.length === 0 || names.size >= namesMax) return known ?? ''
    const name = `likewise_${names.size}`
    names.set(sql, name)
    return name
  }
}

/**
 * pg lets the URL's parameters win over ours; its `options` are appended to ours instead of replacing them.
 * `pgbouncer=true` is Prisma's word for a pooler that hands a connection to somebody else between transactions, where
 * named statements are lost.
 */
export function splitUrl(text: string): {
  connectionString: string
  startupOptions: string
  throughPooler: boolean
} {
  if (!URL.canParse(text)) return { connectionString: text, startupOptions: '', throughPooler: false }
  const url = new URL(text)
  const startupOptions = url.searchParams.get('options') ?? ''
  const throughPooler = url.searchParams.get('pgbouncer') === 'true'
  url.searchParams.delete('options')
  url.searchParams.delete('pgbouncer')
  return { connectionString: url.href, startupOptions, throughPooler }
}

/**
 * A connection that comes back to the pool inside a transaction is closed, whatever the reason. The next BEGIN on it
 * would only be a warning to PostgreSQL, and the next COMMIT would commit a stranger's statements.
 */
class GuardedPrismaPg extends PrismaPg {
  readonly #silence: SilenceLimit

  constructor(
    config: ConstructorParameters<typeof PrismaPg>[0],
    silence: SilenceLimit,
    options: ConstructorParameters<typeof PrismaPg>[1],
  ) {
    super(config, options)
    this.#silence = silence
  }

  override async connect(): ReturnType<PrismaPg['connect']> {
    const adapter = await super.connect()
    const pool = adapter.underlyingDriver()
    // Told to end while it was idle, it has as long as a statement to do so.
    pool.on('connect', (client) => {
      const socket = socketOf(client)
      socket.once('finish', () => {
        this.#silence.watch(socket)
      })
    })
    pool.on('acquire', (client) => {
      this.#silence.watch(socketOf(client))
    })
    pool.on('release', (error: Error | undefined, client) => {
      if (client.getTransactionStatus() !== 'I') void client.end()
      else if (!error) this.#silence.ignore(socketOf(client))
    })
    return adapter
  }
}

/** The one that speaks: under TLS not the one that openSocket made, but the one above it. */
function socketOf(client: { connection: { stream: unknown } }): Socket {
  return client.connection.stream as Socket
}
