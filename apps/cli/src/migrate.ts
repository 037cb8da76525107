import {
  type Login,
  assertNoneRefused,
  ensureLogins,
  migrate,
  ownerTargets,
  migrationTargets,
  serviceLogins,
  unusableDatabase,
} from '@likewise/database'
import { Failure, readConfig } from '@likewise/service'
import type { Static } from 'typebox'
import type { Say } from './catalog.ts'
import { MigrateConfig } from './config.ts'

type Config = Static<typeof MigrateConfig>

/**
 * Brings the databases of both sides to where this version needs them, and makes the users that the settings of the
 * services name; run again, it changes nothing. What keeps one user from being made is said at the end, when the others are.
 */
export async function migrateDatabases(say: Say): Promise<void> {
  const config = readConfig(MigrateConfig)
  for (const { variable, url } of migrationTargets(config)) await migrateOne(url, { variable, say })
  const failures: Failure[] = []
  for (const [side, { url }] of Object.entries(ownerTargets(config))) {
    const { changed, refused } = await ensureLogins(url, loginsOf(config, side))
    for (const user of changed) say(`the user ${user} may log in to ${placeOf(url)}`)
    failures.push(...refused)
  }
  assertNoneRefused(failures)
}

async function migrateOne(url: string, { variable, say }: { variable: string; say: Say }): Promise<void> {
  const { applied } = await migrate(url).catch((error: unknown) => {
    throw error instanceof Failure ? unusableDatabase(variable, error) : error
  })
  for (const name of applied) say(`applied ${name} to ${placeOf(url)}`)
  if (applied.length === 0) say(`${placeOf(url)} is up to date`)
}

/** The operator looks after both sides; where they are on two servers, it is a user of both. */
function loginsOf(config: Config, side: string): Login[] {
  const wanted = [...serviceLogins.filter((login) => login.side === side), operator]
  return wanted.flatMap(({ variable, role }) => {
    const url = config[variable]
    return url === undefined ? [] : [{ variable, role, url }]
  })
}

const operator = { variable: 'OPERATOR_DATABASE_URL', role: 'likewise_operator' } as const

function placeOf(url: string): string {
  const { host, pathname } = new URL(url)
  return `${host}${pathname}`
}
