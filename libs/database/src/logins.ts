import { Failure } from '@likewise/service'
import { Client, escapeIdentifier, escapeLiteral } from 'pg'
import { splitUrl } from './connection.ts'
import { databaseFailure } from './failure.ts'
import { scramVerifier } from './scram.ts'

/** The groups that the migration makes: what each service may do (docs/security.md). */
export type ServiceRole =
  'likewise_api' | 'likewise_relay' | 'likewise_consumer' | 'likewise_reader' | 'likewise_operator'

/** A user of one of the groups, by the URL that its service has. */
export interface Login {
  readonly role: ServiceRole
  readonly url: string
  /** The setting that holds the URL, for the sentences. */
  readonly variable: string
}

/** The settings that name a service's own user, and the database that each belongs to. */
export const serviceLogins = [
  { service: 'like-api', variable: 'LIKE_API_DATABASE_URL', role: 'likewise_api', side: 'catalog' },
  { service: 'outbox-relay', variable: 'RELAY_DATABASE_URL', role: 'likewise_relay', side: 'catalog' },
  {
    service: 'metrics-consumer',
    variable: 'CONSUMER_DATABASE_URL',
    role: 'likewise_consumer',
    side: 'metrics',
  },
  { service: 'metrics-api', variable: 'METRICS_API_DATABASE_URL', role: 'likewise_reader', side: 'metrics' },
] as const satisfies readonly {
  variable: string
  role: ServiceRole
  side: 'catalog' | 'metrics'
  service: string
}[]

/** What became of the users: those that were made or changed, and why others were not. */
interface Ensured {
  readonly changed: readonly string[]
  readonly refused: readonly Failure[]
}

/**
 * Lets each user log in with its URL's password and do what its role may: made where it is missing, given that password
 * where it has another. Nothing is changed, and no right is needed, where it can do so already. The host of `ownerUrl` is
 * asked, not that of the user's URL, which may lead through a pooler. A user that exists and is of another kind, or of
 * another database, is left alone: a slip in a URL must take nobody's password away. One that is refused keeps none of the
 * others from being made; an outage does.
 */
export async function ensureLogins(ownerUrl: string, logins: readonly Login[]): Promise<Ensured> {
  const changed: string[] = []
  const refused: Failure[] = []
  for (const login of logins) {
    try {
      if (await ensureLogin(ownerUrl, login)) changed.push(readUser(login).user)
    } catch (error) {
      if (!(error instanceof Failure) || error.retryable) throw error
      refused.push(error)
    }
  }
  return { changed, refused }
}

/** Throws all that was refused as one, a line for each. */
export function assertNoneRefused(refused: readonly Failure[]): void {
  const [first, ...more] = refused
  if (first === undefined) return
  if (more.length === 0) throw first
  throw new Failure(first.code, refused.map(({ message }) => message).join('\n'), { cause: first })
}

/** @returns whether anything was changed. */
async function ensureLogin(ownerUrl: string, login: Login): Promise<boolean> {
  // One that logs in by a certificate or the like has none to be given.
  if (new URL(login.url).password === '') return false
  const { user } = readUser(login)
  if (user === decodeURIComponent(new URL(ownerUrl).username)) return false
  if (await isUsable(ownerUrl, login)) return false
  try {
    await withClient(ownerUrl, (client) => makeUser(client, login))
  } catch (error) {
    if (await isUsable(ownerUrl, login)) return false // another migration was faster
    throw mayNot(error, login, user)
  }
  return true
}

/** The same server and database, as another user. */
export function urlOf(ownerUrl: string, { user, password }: { user: string; password: string }): string {
  const url = new URL(ownerUrl)
  url.username = encodeURIComponent(user)
  url.password = encodeURIComponent(password)
  return url.href
}

function readUser({ url, variable }: Login): { user: string; password: string } {
  const { username, password } = new URL(url)
  const found = { user: decodeURIComponent(username), password: decodeURIComponent(password) }
  if (!found.user || !found.password)
    throw new Failure('CONFIG_INVALID', `${variable} names no user, or no password, to be made.`)
  // Outside of ASCII clients disagree about which form of a letter is the password's.
  if (!/^[ -~]+$/.test(found.password))
    throw new Failure(
      'CONFIG_INVALID',
      `The password in ${variable} may hold ASCII letters, digits and signs only.`,
    )
  return found
}

async function isUsable(ownerUrl: string, login: Login): Promise<boolean> {
  try {
    return await withClient(urlOf(ownerUrl, readUser(login)), async (client) => {
      const { rows } = await client.query<{ is: boolean }>(
        `select pg_has_role(current_user, ${escapeLiteral(login.role)}, 'usage') as is`,
      )
      return rows[0]?.is === true
    })
  } catch (error) {
    const code = String((error as { code?: unknown }).code)
    // wrong password or no such user; not allowed in at all
    if (code.startsWith('28')) return false
    if (code === '42501') throw mayNotConnect(error, ownerUrl, login)
    throw databaseFailure(error)
  }
}

/** What a user that was made here says of itself: roles are the cluster's, and another database may want the same name. */
const noteOf = (database: string): string => `Likewise: a user of the database ${database}`

interface Found {
  /** It is of the role that is wanted and of no other kind; null where there is no such user. */
  fits: boolean | null
  /** What is said about it, by us or by somebody else. */
  note: string | null
  /** The other database that it belongs to, where there is such a one. */
  other: string | null
  here: string
}

async function makeUser(client: Client, login: Login): Promise<void> {
  const { user, password } = readUser(login)
  const { fits, note, other, here } = await findUser(client, login, user)
  const name = escapeIdentifier(user)
  if (fits === false) {
    throw new Failure(
      'CONFIG_INVALID',
      `The user ${user} of ${login.variable} exists and is not of ${login.role}. Choose another name, or make it one: ` +
        `grant ${login.role} to ${name}`,
    )
  }
  if (other !== null) {
    throw new Failure(
      'CONFIG_INVALID',
      `The user ${user} of ${login.variable} belongs to the database ${other} of this server, whose service a new password ` +
        `would lock out. Choose another name, give both the same password, or say that it is ${here}'s: ` +
        `comment on role ${name} is ${escapeLiteral(noteOf(here))}`,
    )
  }
  const verifier = escapeLiteral(scramVerifier(password))
  const change =
    fits === null
      ? `create role ${name} login password ${verifier} in role ${login.role}`
      : `alter role ${name} login password ${verifier}`
  const isOurs = note === null || note.startsWith(noteOf(''))
  // One message, so one transaction: no user without its note. One of somebody else's stays.
  await client.query(isOurs ? `${change}; comment on role ${name} is ${escapeLiteral(noteOf(here))}` : change)
}

async function findUser(client: Client, { role }: Login, user: string): Promise<Found> {
  const answer = await client.query<Found>(
    `select current_database()::text as here, note,
            case when r.oid is not null then not r.rolsuper and not r.rolcreaterole
              and exists (select from pg_auth_members where member = r.oid and roleid = $2::regrole) end as fits,
            (select datname::text from pg_database where $3 || datname = note and datname <> current_database()) as other
     from (values (1)) as one left join pg_roles as r on r.rolname = $1,
          shobj_description(r.oid, 'pg_authid') as note`,
    [user, role, noteOf('')],
  )
  const [found] = answer.rows as [Found]
  return found
}

function mayNot(error: unknown, { role, variable }: Login, user: string): Error {
  if ((error as { code?: unknown }).code !== '42501') return databaseFailure(error)
  const name = escapeIdentifier(user)
  return new Failure(
    'DATABASE_REFUSED',
    `The user ${user} of ${variable} cannot log in and use ${role}, and whoever migrates may not make users. Let one who ` +
      `may run: create role ${name} login password '…' in role ${role} (where it exists: alter role ${name} password '…')`,
    { cause: error, details: { sqlstate: '42501' } },
  )
}

function mayNotConnect(cause: unknown, ownerUrl: string, login: Login): Failure {
  const { user } = readUser(login)
  const database = escapeIdentifier(decodeURIComponent(new URL(ownerUrl).pathname.slice(1)))
  return new Failure(
    'DATABASE_REFUSED',
    `The user ${user} of ${login.variable} may not connect to the database. Let its owner run: ` +
      `grant connect on database ${database} to ${escapeIdentifier(user)}`,
    { cause, details: { sqlstate: '42501' } },
  )
}

async function withClient<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const { connectionString, startupOptions } = splitUrl(url)
  const client = new Client({
    connectionString,
    connectionTimeoutMillis: 5_000,
    statement_timeout: 10_000,
    application_name: 'likewise-migrate',
    ...(startupOptions && { options: startupOptions }),
  })
  client.on('error', () => undefined) // it fails the statement, too
  try {
    await client.connect()
    return await work(client)
  } finally {
    await client.end().catch(() => undefined)
  }
}
