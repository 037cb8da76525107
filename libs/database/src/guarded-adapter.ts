import { Socket } from 'node:net'
import { PrismaPg } from '@prisma/adapter-pg'
import type { DatabaseOptions } from './database.ts'

// The server's statement_timeout must win the race: its answer says that the statement is rolled back, while a
// connection that fell silent leaves the outcome unknown. Half a second is a slow network plus a busy server.
const silenceMarginMs = 500

export interface SilenceLimit {
  watch: (socket: Socket) => void
  ignore: (socket: Socket) => void
}

// pg's own query_timeout returns the error but keeps the connection, with the statement still running in it and a
// ROLLBACK that was never sent. A socket that destroys itself after too long a silence fails everything on it at once.
// One that lies idle in the pool is silent by right: cutting it made a quiet service open one for nearly every request.
export function silenceLimit(options: DatabaseOptions): SilenceLimit {
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

export function timedOut(message: string): Error {
  return Object.assign(new Error(message), { code: 'ETIMEDOUT' })
}

/**
 * A connection that comes back to the pool inside a transaction is closed, whatever the reason. The next BEGIN on it
 * would only be a warning to PostgreSQL, and the next COMMIT would commit a stranger's statements.
 */
export class GuardedPrismaPg extends PrismaPg {
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
