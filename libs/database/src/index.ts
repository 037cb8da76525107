export { connectDatabase, type Database, type DatabaseOptions, type Tx, type TxOptions } from './database.ts'
export { databaseFailure } from './failure.ts'
export { type Login, assertNoneRefused, ensureLogins, serviceLogins, urlOf } from './logins.ts'
export { migrate, type MigrateOptions } from './migrate.ts'
export { type MigrationTarget, migrationTargets, ownerTargets } from './migration-targets.ts'
export { lsnText, parseLsn } from './lsn.ts'
export { withPulse } from './pulse.ts'
export { type PgLike, type PrismaLike, type Queryable, queryableOf, queryableOfPg } from './queryable.ts'
export {
  type Replication,
  type ReplicationHandlers,
  type ReplicationOptions,
  connectReplication,
} from './replication.ts'
export { schemaDifference, type SchemaDifferenceOptions } from './schema-difference.ts'
export { arrayOf, empty, join, raw, sql, type Sql } from './sql.ts'
export { streamRows } from './stream-rows.ts'
export { type MigrationState, readMigrationState, readPlainSettings } from './server-state.ts'
export { requireSchema, unusableDatabase, withSettingsRequired } from './require-schema.ts'
