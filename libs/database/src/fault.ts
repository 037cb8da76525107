import { isDistrust } from '@likewise/service'

/** What can be known of a database error: PostgreSQL's code if the server spoke, or that the connection is at fault. */
export type Fault = {
  sqlstate?: string
  constraint?: string
  connection: boolean
  /** The server's certificate is not to be trusted. */
  distrusted?: boolean
  message: string
}

const adapterConnectionKinds = new Set([
  'DatabaseNotReachable',
  'ConnectionClosed',
  'SocketTimeout',
  'TlsConnectionError',
  'TransactionAlreadyClosed',
  'TooManyConnections',
])
const connectionCodes = new Set([
  // the socket's
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'EADDRNOTAVAIL',
  'EMFILE',
  // Prisma's: no credentials, unreachable, timed out, closed, pool exhausted, transaction expired, too many connections
  'P1000',
  'P1001',
  'P1002',
  'P1003',
  'P1008',
  'P1010',
  'P1011',
  'P1017',
  'P2024',
  'P2028',
  'P2037',
])
// pg and pg-pool throw these as plain errors without a code.
const connectionSentences =
  /Connection terminated|timeout exceeded when trying to connect|Query read timeout|not queryable|pool after calling end|timeout expired|server does not support SSL|error establishing an SSL/
// Every SQLSTATE has a digit, which EPIPE has not.
const sqlstateShape = /^(?=.*\d)[0-9A-Z]{5}$/
// Any system error that Prisma passes on came from its connection, also the ENOENT of a missing Unix socket.
const errnoShape = /^E[A-Z_]+$/
// Of a handshake that failed or a session that was ended, our certificate being refused among them.
const tlsShape = /^(ERR_SSL_|ERR_TLS_|EPROTO$)/
const prismaCodeShape = /^P[1-6]\d{3}$/

/**
 * Recovers the SQLSTATE from the three shapes an error comes in: pg's own error, the adapter's DriverAdapterError
 * (its `cause` is a record with `originalCode`), and Prisma's, which keeps the latter in `meta.driverAdapterError`
 * (P2010 for raw statements, P1xxx/P20xx for models and BEGIN). Returns undefined for errors of any other origin.
 */
export function readFault(error: unknown): Fault | undefined {
  const adapterError = field(field(error, 'meta'), 'driverAdapterError') ?? error
  const cause = field(adapterError, 'cause')
  const kind = text(field(cause, 'kind'))
  const code = text(field(error, 'code')) ?? ''
  const name = text(field(error, 'name')) ?? ''
  const message = plain(text(field(error, 'message')) ?? '') || code || name
  if (kind !== undefined) return readAdapterCause(cause, kind, message)
  if (sqlstateShape.test(code) && !prismaCodeShape.test(code))
    return fromServer(code, message, text(field(error, 'constraint')))
  if (isDistrust(code)) return { connection: true, distrusted: true, message }
  const connection = connectionSentences.test(message) || connectionCodes.has(code) || tlsShape.test(code)
  if (!name.startsWith('PrismaClient')) return connection ? { connection, message } : undefined
  return { connection: connection || errnoShape.test(code) || name.endsWith('InitializationError'), message }
}

function readAdapterCause(cause: unknown, kind: string, rendered: string): Fault {
  const host = text(field(cause, 'host'))
  const port = field(cause, 'port')
  const unreachable = host && `nothing answers at ${host}${typeof port === 'number' ? `:${port}` : ''}`
  const reason = text(field(cause, 'reason')) // of TLS
  const message = text(field(cause, 'originalMessage')) ?? unreachable ?? reason ?? rendered
  const sqlstate = text(field(cause, 'originalCode'))
  const constraint = text(field(field(cause, 'constraint'), 'index'))
  if (sqlstate !== undefined) return fromServer(sqlstate, message, constraint)
  const distrusted = kind === 'TlsConnectionError' && !connectionSentences.test(message)
  return { connection: adapterConnectionKinds.has(kind), ...(distrusted && { distrusted }), message }
}

// The adapter keeps the constraint's name for unique and foreign keys only; for checks it stands in the message.
function fromServer(sqlstate: string, message: string, constraint: string | undefined): Fault {
  const name =
    constraint ?? (sqlstate.startsWith('23') ? /constraint "([^"]+)"/.exec(message)?.[1] : undefined)
  return { sqlstate, message, connection: false, ...(name !== undefined && { constraint: name }) }
}

// Prisma's messages start with a header about the call, and wrap what the adapter said into a template.
function plain(message: string): string {
  const wrapped = /Raw query failed\. Code: `.*`\. Message: `(.*)`/s.exec(message)?.[1]
  const lines = (wrapped ?? message).split('\n').map((line) => line.trim())
  return lines.findLast((line) => line !== '') ?? ''
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
