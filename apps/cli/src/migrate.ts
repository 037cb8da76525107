import { migrate, migrationTargets, unusableDatabase } from '@likewise/database'
import { Failure, readConfig } from '@likewise/service'
import type { Say } from './catalog.ts'
import { MigrateConfig } from './config.ts'

/** Brings the databases of both sides to where this version needs them; run again, it changes nothing. */
export async function migrateDatabases(say: Say): Promise<void> {
  for (const { variable, url } of migrationTargets(readConfig(MigrateConfig))) {
    const { applied } = await migrate(url).catch((error: unknown) => {
      throw error instanceof Failure ? unusableDatabase(variable, error) : error
    })
    const { host, pathname } = new URL(url)
    for (const name of applied) say(`applied ${name} to ${host}${pathname}`)
    if (applied.length === 0) say(`${host}${pathname} is up to date`)
  }
}
