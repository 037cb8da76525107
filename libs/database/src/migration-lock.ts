import { Failure, pause } from '@likewise/service'
import { sessionNeeded, settingsMark } from './connection.ts'
import { databaseFailure } from './failure.ts'
import { MigrationAdapter } from './migration-adapter.ts'

// Beside Prisma's own 72707369. The engine waits for that one 10 seconds and then fails, which is too short for a
// second instance that starts while the first one migrates.
const lockKey = 72_707_370
const pollMs = 200

/** Runs `work` while no other migrator of ours does the same in this database; also refuses a PostgreSQL too old. */
export async function withMigrationLock<T>(
  url: string,
  { connectTimeoutMs, deadline }: { connectTimeoutMs: number; deadline: number },
  work: () => Promise<T>,
): Promise<T> {
  const adapter = new MigrationAdapter(url, connectTimeoutMs)
  try {
    const session = await adapter.connect()
    const ask = async (sql: string): Promise<unknown[]> => {
      const { rows } = await session.queryRaw({ sql, args: [], argTypes: [] }).catch((error: unknown) => {
        throw databaseFailure(error)
      })
      return rows[0] ?? []
    }
    const [number, name, mark] = await ask(
      `select current_setting('server_version_num')::int, current_setting('server_version'), current_setting('${settingsMark}', true)`,
    )
    assertVersion(Number(number), String(name))
    if (mark !== 'on') throw sessionNeeded('Migrations')
    while ((await ask(`select pg_try_advisory_lock(${lockKey})`))[0] !== true) {
      if (performance.now() > deadline)
        throw new Failure(
          'DATABASE_BUSY',
          'Another migrator is still at work on this database; try again later.',
        )
      await pause(pollMs)
    }
    return await work()
  } finally {
    // The lock ends with its session.
    await adapter.close()
  }
}

export function assertVersion(number: number, name: string): void {
  if (number >= 180_000) return
  throw new Failure(
    'DATABASE_REFUSED',
    `Likewise needs PostgreSQL 18 or newer, for uuidv7() and identity columns on partitioned tables; this one is ${name}.`,
  )
}
