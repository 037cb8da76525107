import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { migrate } from './migrate.ts'
import { migrationsDirDefault, schemaFileDefault } from './migration-files.ts'
import { assertVersion } from './migration-lock.ts'
import { schemaDifference } from './schema-difference.ts'
import { sql } from './sql.ts'
import { emptyDatabase } from './testing/empty-database.ts'
import type { EmptyDatabase } from './testing/empty-database.ts'

let fresh: EmptyDatabase
let dir: string

beforeEach(async () => {
  fresh = await emptyDatabase(process.env['CATALOG_DATABASE_URL'])
  dir = await mkdtemp(join(tmpdir(), 'likewise-migrations-'))
  await cp(migrationsDirDefault, dir, { recursive: true })
})
afterEach(async () => {
  await fresh.drop()
  await rm(dir, { recursive: true })
})

async function addMigration(name: string, text: string): Promise<void> {
  await mkdir(join(dir, name), { recursive: true })
  await writeFile(join(dir, name, 'migration.sql'), text)
}

const tricky = `create function one() returns int language plpgsql as $$
begin
  -- a semicolon; in a comment
  return 1;
end $$;
create table extra (id bigint);`

describe('migrate', () => {
  it('applies what is missing, once', async () => {
    const first = await migrate(fresh.url, { migrationsDir: dir })
    expect(first.applied.length).toBeGreaterThan(0)
    expect(await migrate(fresh.url, { migrationsDir: dir })).toEqual({ applied: [] })
    await addMigration('29990101000000_extra', tricky)
    expect(await migrate(fresh.url, { migrationsDir: dir })).toEqual({ applied: ['29990101000000_extra'] })
    expect(await fresh.connect().query(sql`select one() as one`)).toEqual([{ one: 1 }])
  })

  it('works once when several migrators start together', async () => {
    const outcomes = await Promise.all([1, 2, 3].map(() => migrate(fresh.url, { migrationsDir: dir })))
    expect(outcomes.filter(({ applied }) => applied.length > 0)).toHaveLength(1)
  })

  it('waits longer than ten seconds for another migrator', async () => {
    await migrate(fresh.url, { migrationsDir: dir })
    await addMigration('29990101000000_slow', 'select pg_sleep(11); create table slow (id int);')
    const outcomes = await Promise.all([1, 2].map(() => migrate(fresh.url, { migrationsDir: dir })))
    expect(outcomes.map(({ applied }) => applied.length).sort()).toEqual([0, 1])
  }, 30_000)

  it('waits for `prisma migrate` too, which knows only its own lock', async () => {
    const foreign = fresh.connect({ statementTimeoutMs: 30_000 })
    const holding = foreign.tx(async (tx) => {
      await tx.query(sql`select pg_advisory_xact_lock(72707369)::text`)
      await tx.query(sql`select pg_sleep(11)::text`)
    })
    const { applied } = await migrate(fresh.url, { migrationsDir: dir })
    expect(applied.length).toBeGreaterThan(0)
    await holding
  }, 30_000)

  it('names the migration that failed and says what PostgreSQL said; mended, it goes on', async () => {
    const name = '29990101000000_broken'
    await addMigration(name, 'create table half (id int);\ninsert into nowhere values (1);')
    const failing = migrate(fresh.url, { migrationsDir: dir })
    await expect(failing).rejects.toThrow(`Migration ${name} failed: relation "nowhere" does not exist.`)
    await expect(failing).rejects.toMatchObject({ code: 'DATABASE_REFUSED', details: { sqlstate: '42P01' } })
    await addMigration(name, 'create table half (id int);')
    expect(await migrate(fresh.url, { migrationsDir: dir })).toEqual({ applied: [name] })
  })

  it('does not go past a migration that was interrupted', async () => {
    await migrate(fresh.url, { migrationsDir: dir })
    await fresh.connect().execute(sql`update _prisma_migrations set finished_at = null`)
    const again = migrate(fresh.url, { migrationsDir: dir })
    await expect(again).rejects.toThrow(/Migration \S+ was interrupted/)
  })

  it('says in one sentence that the server is away', async () => {
    const away = migrate('postgres://nobody@127.0.0.1:1/nowhere')
    await expect(away).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' })
    await expect(away).rejects.toThrow('PostgreSQL is not available: nothing answers at 127.0.0.1:1.')
  })

  it('refuses a PostgreSQL older than 18', () => {
    expect(() => {
      assertVersion(170_006, '17.6')
    }).toThrow('Likewise needs PostgreSQL 18 or newer')
    assertVersion(180_000, '18.0')
  })
})

describe('schemaDifference', () => {
  it('finds none between our migrations and our schema.prisma', async () => {
    await migrate(fresh.url)
    expect(await schemaDifference(fresh.url)).toBe('')
  })

  it('finds a column that has no migration', async () => {
    await migrate(fresh.url)
    const schema = await readFile(schemaFileDefault, 'utf8')
    const schemaFile = join(dir, 'schema.prisma')
    await writeFile(schemaFile, schema.replace('model Like {', 'model Like {\n  mood String?'))
    expect(await schemaDifference(fresh.url, { schemaFile })).toContain('Added column `mood`')
  })

  it('finds a column that schema.prisma does not know', async () => {
    await migrate(fresh.url)
    await fresh.connect().execute(sql`alter table catalog.likes add mood text`)
    expect(await schemaDifference(fresh.url)).toContain('Removed column `mood`')
  })
})
