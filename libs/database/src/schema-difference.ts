import { dirname } from 'node:path'
import { databaseFailure } from './failure.ts'
import { noFilters } from './migrate.ts'
import { MigrationAdapter } from './migration-adapter.ts'
import { readSchema, schemaFileDefault } from './migration-files.ts'
import { openSchemaEngine } from './schema-engine.ts'

export interface SchemaDifferenceOptions {
  schemaFile?: string
  connectTimeoutMs?: number
}

/**
 * What would have to change in the database to be what schema.prisma says, in words; '' if they agree. Prisma compares
 * tables, columns, types, defaults, keys and indexes; it does not see checks, partial indexes' conditions, the ring's
 * partitions, views and functions.
 */
export async function schemaDifference(url: string, options: SchemaDifferenceOptions = {}): Promise<string> {
  const { schemaFile = schemaFileDefault, connectTimeoutMs = 5_000 } = options
  const files = [{ path: schemaFile, content: await readSchema(schemaFile) }]
  const adapter = new MigrationAdapter(url, connectTimeoutMs)
  try {
    const engine = await openSchemaEngine(adapter)
    try {
      const { exitCode, stdout } = await engine.diff({
        from: { tag: 'schemaDatasource', files, configDir: dirname(schemaFile) },
        to: { tag: 'schemaDatamodel', files },
        script: false,
        exitCode: true,
        filters: noFilters,
      })
      return exitCode === 0 ? '' : (stdout?.trim() ?? 'They differ.')
    } finally {
      engine.free()
    }
  } catch (error) {
    throw databaseFailure(error)
  } finally {
    await adapter.close()
  }
}
