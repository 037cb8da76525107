import { randomBytes } from 'node:crypto'
import {
  type MigrationTarget,
  assertNoneRefused,
  ensureLogins,
  migrate,
  migrationTargets,
  ownerTargets,
  serviceLogins,
  unusableDatabase,
  urlOf,
} from '@likewise/database'
import { Failure } from '@likewise/service'
import type { Servers } from './servers.ts'
import type { App } from './services.ts'

type Env = Readonly<Record<string, string | undefined>>

const passwordBytes = 18

/**
 * Brings the databases to where this version needs them, and makes a user for each service. On servers of our own each
 * start draws new passwords, which nobody need keep; on somebody else's it is for them to say which services have a user
 * of their own (LIKE_API_DATABASE_URL and the like).
 *
 * @returns what the environment of a service says about databases: the one that it uses, as its own user.
 */
export async function prepareDatabases(
  servers: Servers,
  { env, signal }: { env: Env; signal: AbortSignal | undefined },
): Promise<(app: App) => Env> {
  const { catalogDatabaseUrl: catalog, metricsDatabaseUrl: metrics } = servers
  const shared = { CATALOG_DATABASE_URL: catalog, METRICS_DATABASE_URL: metrics, ...directUrls(servers, env) }
  for (const target of migrationTargets(shared)) {
    await migrateOne(target, servers)
    signal?.throwIfAborted()
  }
  const logins = serviceLogins.flatMap(({ service, role, side, variable }) => {
    const url =
      servers.kind === 'env' ? env[variable] : ownUrl(side === 'catalog' ? catalog : metrics, service)
    return url ? [{ service, side, login: { role, variable, url } }] : []
  })
  const failures: Failure[] = []
  for (const [side, { url }] of Object.entries(ownerTargets(shared))) {
    const wanted = logins.filter((one) => one.side === side).map(({ login }) => login)
    failures.push(...(await ensureLogins(url, wanted)).refused)
    signal?.throwIfAborted()
  }
  assertNoneRefused(failures)
  // Empty rather than absent: a .env has no say in what the stack has decided.
  const none = Object.fromEntries(
    [...Object.keys(shared), ...serviceLogins.map((one) => one.variable)].map((name) => [name, '']),
  )
  return (app) => {
    const own = logins.find(({ service }) => service === app)?.login
    return { ...none, ...(own ? { [own.variable]: own.url } : shared) }
  }
}

function ownUrl(ownerUrl: string, service: string): string {
  const password = randomBytes(passwordBytes).toString('base64url')
  return urlOf(ownerUrl, { user: service.replaceAll('-', '_'), password })
}

/** Past a pooler that is in front of somebody else's servers; those of ours have none, whatever the environment says. */
function directUrls(
  { kind }: Servers,
  env: Env,
): Record<'CATALOG_DATABASE_DIRECT_URL' | 'METRICS_DATABASE_DIRECT_URL', string> {
  const of = (name: string): string => (kind === 'env' && env[name]) || ''
  return {
    CATALOG_DATABASE_DIRECT_URL: of('CATALOG_DATABASE_DIRECT_URL'),
    METRICS_DATABASE_DIRECT_URL: of('METRICS_DATABASE_DIRECT_URL'),
  }
}

async function migrateOne({ variable, url }: MigrationTarget, { kind }: Servers): Promise<void> {
  await migrate(url).catch((error: unknown) => {
    // A fault of somebody else's server is mended by looking at the variable that names it.
    throw kind === 'env' && error instanceof Failure ? unusableDatabase(variable, error) : error
  })
}
