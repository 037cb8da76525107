import { Failure } from '@likewise/service'
import { Client, type ClientConfig, type Connection } from 'pg'
import { assertDirect, splitUrl } from './connection.ts'
import { databaseFailure } from './failure.ts'
import { lsnText } from './lsn.ts'
import { readFrame, statusFrame } from './replication-frames.ts'

export interface ReplicationOptions {
  url: string
  applicationName: string
  connectTimeoutMs: number
  /**
   * The server ends the connection of a client that says nothing for so long, and frees its slot. A process that was
   * killed is noticed at once; this is for one that sleeps, and for a host that is gone.
   */
  senderTimeoutMs: number
}

export interface ReplicationHandlers {
  /** One message of the output plugin. The buffer is the socket's: read it now, keep nothing of it. */
  data: (payload: Buffer) => void
  /** The server has sent everything that was committed below `walEnd`. */
  keepalive: (walEnd: bigint) => void
  /** The stream has ended and will not go on; never called after `stop`. */
  ended: (failure: Error) => void
}

/** A session in replication mode: it takes SQL and replication commands, and can turn into a stream. */
export interface Replication {
  /** Runs one statement or command, as text and without parameters. Rejects with a Failure, see databaseFailure. */
  query<T>(text: string): Promise<T[]>
  /**
   * Streams a logical slot from where it was confirmed last. Resolves when the stream has begun; rejects with a Failure
   * when the server refuses, with sqlstate 55006 while somebody else reads the slot.
   */
  start(source: { slot: string; publication: string }, handlers: ReplicationHandlers): Promise<void>
  /** Everything below `lsn` has been dealt with: the server need not keep it, and will not send it again. */
  confirm(lsn: bigint): void
  /** Stops reading from the socket, so that the server stops sending. What has arrived already is still handed over. */
  pause(): void
  resume(): void
  /** Sends the last confirmation and closes; bounded. */
  stop(): Promise<void>
}

// pg's types leave out what its own COPY support uses.
type CopyConnection = Connection & {
  sendCopyFromChunk: (chunk: Buffer) => void
  end: () => void
}

/** The server learns this often where the client stands, and that it lives. */
const statusMs = 1_000
// While the server skips a huge transaction of other tables it speaks only every senderTimeout / 2, and not at all
// while it sorts one: shorter, and such a transaction would be begun again and again.
const silenceMaxMs = 30_000
const stopGraceMs = 2_000

export async function connectReplication(options: ReplicationOptions): Promise<Replication> {
  assertDirect(options.url, 'A replication slot', 'SLOT_UNUSABLE')
  const client = new Client(clientConfig(options))
  // Whatever breaks also fails the statement that is running; a connection without one is noticed by the next.
  client.on('error', () => undefined)
  try {
    await client.connect()
  } catch (error) {
    await client.end().catch(() => undefined)
    throw databaseFailure(error)
  }
  return replicationOf(client)
}

function replicationOf(client: Client): Replication {
  const connection = client.connection as CopyConnection
  const pulse = pulseOf(connection)
  let stopping: Promise<void> | undefined

  function receive(chunk: Buffer, handlers: ReplicationHandlers): void {
    pulse.heard()
    const frame = readFrame(chunk)
    if (frame.kind === 'data') {
      handlers.data(frame.payload)
      return
    }
    pulse.received(frame.walEnd)
    handlers.keepalive(frame.walEnd)
    if (frame.replyWanted) pulse.send()
  }

  function start(command: string, handlers: ReplicationHandlers): Promise<void> {
    return new Promise((resolve, reject) => {
      connection.once('replicationStart', () => {
        pulse.begin()
        resolve()
      })
      connection.on('copyData', ({ chunk }: { chunk: Buffer }) => {
        if (stopping || connection.stream.destroyed) return
        try {
          receive(chunk, handlers)
        } catch (error) {
          // Out of here it would end the process; the broken statement brings it to `ended`.
          connection.stream.destroy(error as Error)
        }
      })
      const end = (error: unknown): void => {
        const failure = databaseFailure(error)
        reject(failure) // does nothing once the stream has begun
        if (pulse.end() && !stopping) handlers.ended(failure)
      }
      client.query(command).then(() => {
        end(new Failure('DATABASE_UNAVAILABLE', 'PostgreSQL ended the replication stream.'))
      }, end)
    })
  }

  return {
    async query<T>(text: string) {
      try {
        return (await client.query(text)).rows as T[]
      } catch (error) {
        throw databaseFailure(error)
      }
    },
    start: ({ slot, publication }, handlers) => start(startCommand(slot, publication), handlers),
    confirm(lsn) {
      if (!stopping) pulse.confirm(lsn)
    },
    pause: () => void connection.stream.pause(),
    resume: () => void connection.stream.resume(),
    stop() {
      if (pulse.end()) pulse.send()
      return (stopping ??= close(connection))
    },
  }
}

/** Tells the server regularly where the client stands, and notices when the server says nothing any more. */
function pulseOf(connection: CopyConnection) {
  const position = { received: 0n, confirmed: 0n }
  let heardAtMs = 0
  let timer: NodeJS.Timeout | undefined

  function send(): void {
    if (connection.stream.writable) connection.sendCopyFromChunk(statusFrame(position, Date.now()))
  }

  /** Each status asks for an answer, which tells how far the server has got, and that it lives. */
  function beat(): void {
    if (connection.stream.isPaused()) heardAtMs = performance.now()
    if (performance.now() - heardAtMs > silenceMaxMs) connection.stream.destroy(unheard())
    else send()
  }

  return {
    send,
    heard: () => void (heardAtMs = performance.now()),
    received(lsn: bigint): void {
      if (lsn > position.received) position.received = lsn
    },
    confirm(lsn: bigint): void {
      if (lsn <= position.confirmed) return
      position.confirmed = lsn
      send()
    },
    begin(): void {
      heardAtMs = performance.now()
      timer = setInterval(beat, statusMs)
    },
    /** @returns whether it had begun, and not ended yet. */
    end(): boolean {
      const had = timer !== undefined
      clearInterval(timer)
      timer = undefined
      return had
    },
  }
}

async function close(connection: CopyConnection): Promise<void> {
  connection.stream.resume() // unread data would keep the end from being seen
  const cut = setTimeout(() => connection.stream.destroy(), stopGraceMs)
  const closed = new Promise<void>((resolve) => {
    if (connection.stream.destroyed) resolve()
    else connection.stream.once('close', resolve)
  })
  connection.end()
  await closed
  clearTimeout(cut)
}

function clientConfig(options: ReplicationOptions): ClientConfig {
  const { connectionString, startupOptions } = splitUrl(options.url)
  const settings = {
    // The text form of a timestamptz depends on both.
    TimeZone: 'UTC',
    DateStyle: 'ISO',
    statement_timeout: 0,
    lock_timeout: 0,
    idle_in_transaction_session_timeout: 0,
    wal_sender_timeout: `${options.senderTimeoutMs}ms`,
    // A statement that waits (making a slot waits for open transactions) ends with its client.
    client_connection_check_interval: '1s',
    tcp_keepalives_idle: 10,
    tcp_keepalives_interval: 5,
    tcp_keepalives_count: 3,
  }
  const ours = Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`)
  const config: ClientConfig & { replication: 'database' } = {
    connectionString,
    replication: 'database',
    application_name: options.applicationName,
    connectionTimeoutMillis: options.connectTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    options: [...ours, startupOptions].join(' ').trim(),
  }
  return config
}

/** From 0/0, that is from where the slot was confirmed; text format, whole transactions in commit order. */
function startCommand(slot: string, publication: string): string {
  return `START_REPLICATION SLOT "${slot}" LOGICAL ${lsnText(0n)} (proto_version '1', publication_names '"${publication}"')`
}

function unheard(): Error {
  const message = `no word from PostgreSQL for ${silenceMaxMs} ms`
  return Object.assign(new Error(message), { code: 'ETIMEDOUT' })
}
