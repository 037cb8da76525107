import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Failure } from '@likewise/service'
import type { MigrationList } from '@prisma/schema-engine-wasm/schema_engine_bg'

// src and dist lie at the same depth.
const prismaDir = fileURLToPath(new URL('../../../prisma', import.meta.url))
export const migrationsDirDefault = join(prismaDir, 'migrations')
export const schemaFileDefault = join(prismaDir, 'schema.prisma')

/** Every folder with a migration.sql, in the order of their names, as the engine wants them. */
export async function readMigrations(baseDir: string): Promise<MigrationList> {
  const entries = await readText(() => readdir(baseDir, { withFileTypes: true }), baseDir)
  const names = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
  if (names.length === 0) throw new Failure('CONFIG_INVALID', `There are no migrations in ${baseDir}.`)
  const migrationDirectories = await Promise.all(
    names.sort().map(async (name) => {
      const file = join(baseDir, name, 'migration.sql')
      const value = await readText(() => readFile(file, 'utf8'), file)
      return { path: name, migrationFile: { path: 'migration.sql', content: { tag: 'ok' as const, value } } }
    }),
  )
  const lock = entries.some((entry) => entry.name === 'migration_lock.toml')
  const content = lock ? await readFile(join(baseDir, 'migration_lock.toml'), 'utf8') : null
  return {
    baseDir,
    lockfile: { path: 'migration_lock.toml', content },
    shadowDbInitScript: '',
    migrationDirectories,
  }
}

export async function readSchema(file: string): Promise<string> {
  return readText(() => readFile(file, 'utf8'), file)
}

async function readText<T>(read: () => Promise<T>, path: string): Promise<T> {
  try {
    return await read()
  } catch (cause) {
    throw new Failure(
      'CONFIG_INVALID',
      `${path} cannot be read: it belongs to the source tree of Likewise.`,
      {
        cause,
      },
    )
  }
}
