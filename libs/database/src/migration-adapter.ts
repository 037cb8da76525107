import { Socket } from 'node:net'
import { PrismaPg } from '@prisma/adapter-pg'
import { asStartupOptions, settingsMark } from './connection.ts'
import { ColumnTypeEnum, type SqlQuery, type SqlResultSet } from '@prisma/driver-adapter-utils'

type Connection = Awaited<ReturnType<PrismaPg['connect']>>

/**
 * What the schema engine talks through. Each connection is a pool of one that never idles out, since the engine's
 * advisory lock lives in its session. The connections are kept, because the engine does not always close them.
 */
export class MigrationAdapter extends PrismaPg {
  /** The error of the last script that failed, with its SQLSTATE; the engine passes on only a sentence. */
  scriptError: unknown
  readonly #connections: Connection[] = []
  readonly #sockets: Set<Socket>

  constructor(url: string, connectTimeoutMs: number) {
    const sockets = new Set<Socket>()
    super({
      connectionString: url,
      max: 1,
      idleTimeoutMillis: 0,
      connectionTimeoutMillis: connectTimeoutMs,
      application_name: 'likewise-migrate',
      options: asStartupOptions({
        [settingsMark]: 'on',
        TimeZone: 'UTC',
        statement_timeout: 0,
        lock_timeout: 0,
      }),
      keepAlive: true,
      stream: () => {
        const socket = new Socket()
        sockets.add(socket)
        return socket
      },
    })
    this.#sockets = sockets
  }

  override async connect(): Promise<Connection> {
    const connection = await super.connect()
    this.#connections.push(connection)
    const describe = connection.queryRaw.bind(connection)
    connection.queryRaw = (query) => queryCatalog(connection, describe, query)
    connection.executeScript = (script) => this.#runScript(connection, script)
    return connection
  }

  /** Prisma's own takes the URL's database for the shadow: it would migrate, and diff, the real one. */
  override connectToShadowDb(): Promise<Connection> {
    return Promise.reject(new Error('A shadow database is not needed here.'))
  }

  /** Cuts every connection: a lock that the engine gave up waiting for would else be waited for until granted. */
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await Promise.allSettled(this.#connections.map((connection) => connection.dispose()))
  }

  // The adapter splits scripts at every semicolon, also inside function bodies and comments. Without arguments pg
  // sends the whole file as one simple query, which PostgreSQL runs as one transaction.
  async #runScript(connection: Connection, script: string): Promise<void> {
    try {
      await connection.executeRaw({ sql: script, args: [], argTypes: [] })
    } catch (error) {
      this.scriptError = error
      throw error
    }
  }
}

// pg_constraint has columns of the one-letter type "char", which the adapter refuses and the engine wants as letters.
// They are asked for once more as text, and handed over as letters.
const letterOid = 18

async function queryCatalog(
  connection: Connection,
  describe: (query: SqlQuery) => Promise<SqlResultSet>,
  query: SqlQuery,
): Promise<SqlResultSet> {
  try {
    return await describe(query)
  } catch (error) {
    if (!isUnsupportedLetter(error)) throw error
    const { fields } = await connection.underlyingDriver().query(query.sql, query.args)
    const isLetter = fields.map((field) => field.dataTypeID === letterOid)
    const columns = fields.map((field, i) => `"${field.name}"${isLetter[i] ? '::text' : ''}`).join(', ')
    const inner = query.sql.trim().replace(/;$/, '')
    const result = await describe({ ...query, sql: `select ${columns} from (${inner}) as described` })
    const columnTypes = result.columnTypes.map((type, i) => (isLetter[i] ? ColumnTypeEnum.Character : type))
    return { ...result, columnTypes }
  }
}

function isUnsupportedLetter(error: unknown): boolean {
  const { cause } = error as { cause?: { kind?: unknown; type?: unknown } }
  return cause?.kind === 'UnsupportedNativeDataType' && cause.type === 'char'
}
