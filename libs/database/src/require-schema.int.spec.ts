import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { migrate } from './migrate.ts'
import { migrationsDirDefault } from './migration-files.ts'
import { newestTable, requireSchema } from './require-schema.ts'
import { type EmptyDatabase, emptyDatabase } from './testing/empty-database.ts'

const sides = [
  { schema: 'catalog', variable: 'CATALOG_DATABASE_URL' },
  { schema: 'metrics', variable: 'METRICS_DATABASE_URL' },
] as const

let fresh: EmptyDatabase
let dir: string
beforeAll(async () => {
  fresh = await emptyDatabase(process.env['CATALOG_DATABASE_URL'])
  dir = await mkdtemp(join(tmpdir(), 'likewise-migrations-'))
})
afterAll(async () => {
  await fresh.drop()
  await rm(dir, { recursive: true })
})

const migrations = async (): Promise<string[]> =>
  (await readdir(migrationsDirDefault)).filter((name) => /^\d/.test(name)).sort()
const made = /^create table (catalog|metrics)\.(\w+) \(/gm
const tablesOf = async (name: string): Promise<string[]> => {
  const text = await readFile(join(migrationsDirDefault, name, 'migration.sql'), 'utf8')
  return [...text.matchAll(made)].map(([, schema, table]) => `${schema}.${table}`)
}

describe('a service that starts', () => {
  it('looks for the newest table of its schema', async () => {
    const tables = (await Promise.all((await migrations()).map(tablesOf))).flat()
    const last = (schema: string) => tables.findLast((table) => table.startsWith(`${schema}.`))
    expect(newestTable).toEqual({ catalog: last('catalog'), metrics: last('metrics') })
  })

  it('says what to run where there is no schema, and where it is that of a release before', async () => {
    const start = (side: (typeof sides)[number]) => requireSchema(fresh.connect(), side)
    const refused = async (side: (typeof sides)[number]) =>
      expect(start(side)).rejects.toMatchObject({
        code: 'DATABASE_NOT_MIGRATED',
        message: expect.stringMatching(new RegExp(`${side.variable}.*npm run migrate`)),
      })
    for (const side of sides) await refused(side)
    for (const name of await migrations()) {
      const tables = await tablesOf(name)
      if (Object.values(newestTable).some((table) => tables.includes(table))) break
      await cp(join(migrationsDirDefault, name), join(dir, name), { recursive: true })
    }
    await migrate(fresh.url, { migrationsDir: dir })
    for (const side of sides) await refused(side)
    await migrate(fresh.url)
    for (const side of sides) await start(side)
  })
})
