import { defineConfig } from 'prisma/config'

// Prisma would download its schema engine and look up a telemetry host even for `generate`, which needs neither. Only
// `prisma migrate` and `prisma db` run the engine; our own migrations run on its WebAssembly twin in libs/database.
const needsEngine = process.argv.some((word) => word === 'migrate' || word === 'db')
if (!needsEngine) process.env['PRISMA_SCHEMA_ENGINE_BINARY'] ??= process.execPath
process.env['CHECKPOINT_DISABLE'] ??= '1'

export default defineConfig({
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  // An empty url lets `prisma generate` run where there is no database.
  datasource: { url: process.env['CATALOG_DATABASE_URL'] ?? '' },
})
