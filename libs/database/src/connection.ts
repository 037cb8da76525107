import { Socket } from 'node:net'
import type { PrismaPg } from '@prisma/adapter-pg'
import { Failure, type FailureCode } from '@likewise/service'
import type { DatabaseOptions } from './database.ts'
import { GuardedPrismaPg, type SilenceLimit, silenceLimit, timedOut } from './guarded-adapter.ts'
import { PoolerPrismaPg } from './pooler-adapter.ts'

export interface Connections {
  adapter: PrismaPg
  /** Cuts what is still open, for a stop that must not wait for a dead server. */
  destroyAll: () => void
}

export function pooledConnections(options: DatabaseOptions): Connections {
  const sockets = new Set<Socket>()
  const silence = silenceLimit(options)
  const { connectionString, startupOptions, throughPooler } = splitUrl(options.url)
  const settings = serverSettings(options)
  const config = {
    connectionString,
    max: options.poolSizeMax,
    connectionTimeoutMillis: options.connectTimeoutMs,
    application_name: options.applicationName,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    stream: () => openSocket(silence, sockets),
  }
  if (throughPooler && startupOptions !== '') throw optionsThroughPooler()
  // A connection that dies while it is idle is the adapter's to hear of: it listens to the pool's errors by itself.
  const adapter = throughPooler
    ? new PoolerPrismaPg(config, silence, settings)
    : new GuardedPrismaPg(
        { ...config, options: `${asStartupOptions(settings)} ${startupOptions}`.trim() },
        silence,
        { statementNameGenerator: statementNames() },
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

/** What each statement of ours runs under. PostgreSQL takes any name that has a dot. */
function serverSettings(options: DatabaseOptions): Record<string, string | number> {
  return {
    [settingsMark]: 'on',
    TimeZone: 'UTC',
    synchronous_commit: 'on',
    // Compiling a statement costs more than any of ours, and is done at each execution, prepared or not. Over the ring's
    // partitions the planner's estimates pass the limit that it begins at.
    jit: 'off',
    statement_timeout: options.statementTimeoutMs,
    idle_in_transaction_session_timeout: options.statementTimeoutMs,
    ...(options.lockTimeoutMs !== undefined && { lock_timeout: options.lockTimeoutMs }),
    ...(options.alwaysByIndex && { enable_seqscan: 'off', plan_cache_mode: 'force_generic_plan' }),
  }
}

/** Set at connect, as `options` of the startup packet: no round trip, and no window in which they are not yet set. */
export function asStartupOptions(settings: Readonly<Record<string, string | number>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(' ')
}

/** `on` in a session that runs under our settings: a pooler may drop them without a word. */
export const settingsMark = 'likewise.settings'

function optionsThroughPooler(): Failure {
  return new Failure(
    'CONFIG_INVALID',
    "A URL with pgbouncer=true cannot have options: a pooler's connections are shared. Give the settings to the role (alter role … set …).",
  )
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
 * `pgbouncer=true` is Prisma's word for a pooler that hands a connection to somebody else between transactions.
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

/** Refuses a URL that leads through a pooler, for what needs a session of PostgreSQL's own. */
export function assertDirect(url: string, what: string, code: FailureCode = 'CONFIG_INVALID'): void {
  if (splitUrl(url).throughPooler) throw sessionNeeded(what, code)
}

export function sessionNeeded(what: string, code: FailureCode = 'CONFIG_INVALID'): Failure {
  return new Failure(
    code,
    `${what} cannot go through a pooler: a session of PostgreSQL itself is needed. Name it in CATALOG_DATABASE_DIRECT_URL or METRICS_DATABASE_DIRECT_URL.`,
  )
}
