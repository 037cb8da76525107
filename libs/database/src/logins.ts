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

/**
 * Lets each user log in with its URL's password and do what its role may: made where it is missing, given that password
 * where it has another. Nothing is changed, and no right is needed, where it can do so already. The host of `ownerUrl` is
 * asked, not that of the user's URL, which may lead through a pooler. A user that exists and is of another kind is left
 * alone: a slip in a URL must not take the superuser's password away.
 *
 * @returns the users that were made or changed.
 */
export async function ensureLogins(ownerUrl: string, logins: readonly Login[]): Promise<string[]> {
  const changed: string[] = []
  for (const login of logins) {
    // One that logs in by a certificate or the like has none to be given.
    if (new URL(login.url).password === '') continue
    const { user, password } = readUser(login)
    if (user === decodeURIComponent(new URL(ownerUrl).username)) continue
    if (await isUsable(ownerUrl, login)) continue
    try {
      await withClient(ownerUrl, (client) => makeUser(client, login))
    } catch (error) {
      if (await isUsable(ownerUrl, login)) continue // another migration was faster
      throw mayNot(error, login, { user, password })
    }
    changed.push(user)
  }
  return changed
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
    // wrong password or no such user; not allowed in at all
    if (String((error as { code?: unknown }).code).startsWith('28')) return false
    throw databaseFailure(error)
  }
}

async function makeUser(client: Client, login: Login): Promise<void> {
  const { user, password } = readUser(login)
  const { rows } = await client.query<{ is: boolean }>(
    `select not r.rolsuper and not r.rolcreaterole
            and exists (select from pg_auth_members where member = r.oid and roleid = $2::regrole) as is
     from pg_roles as r where rolname = $1`,
    [user, login.role],
  )
  if (rows[0]?.is === false) {
    throw new Failure(
      'CONFIG_INVALID',
      `The user ${user} of ${login.variable} exists and is not of ${login.role}. Choose another name, or make it one: ` +
        `grant ${login.role} to ${escapeIdentifier(user)}`,
    )
  }
  const [name, verifier] = [escapeIdentifier(user), escapeLiteral(scramVerifier(password))]
  if (rows[0]) await client.query(`alter role ${name} login password ${verifier}`)
  else await client.query(`create role ${name} login password ${verifier} in role ${login.role}`)
}

function mayNot(
  error: unknown,
  { role, variable }: Login,
  { user }: { user: string; password: string },
): Error {
  if ((error as { code?: unknown }).code !== '42501') return databaseFailure(error)
  const name = escapeIdentifier(user)
  return new Failure(
    'DATABASE_REFUSED',
    `The user ${user} of ${variable} cannot log in and use ${role}, and whoever migrates may not make users. Let one who ` +
      `may run: create role ${name} login password '…' in role ${role} (where it exists: alter role ${name} password '…')`,
    { cause: error, details: { sqlstate: '42501' } },
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
