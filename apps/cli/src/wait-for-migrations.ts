import { type Database, readMigrationState } from '@likewise/database'
import { Failure, pause, readConfig } from '@likewise/service'
import { type Say, connect } from './catalog.ts'
import { WaitConfig } from './config.ts'

const askEveryMs = 1_000

/**
 * Changes nothing: waits until somebody has brought the databases that are named to where this version needs them, for what
 * is started before a service (an init container). An outage is waited out, too; what it waits for is said when it changes.
 */
export async function waitForMigrations(say: Say): Promise<void> {
  const config = readConfig(WaitConfig)
  const urls = new Set(
    [config.CATALOG_DATABASE_URL, config.METRICS_DATABASE_URL].filter((url) => url !== undefined),
  )
  if (urls.size === 0)
    throw new Failure(
      'CONFIG_INVALID',
      'Set CATALOG_DATABASE_URL or METRICS_DATABASE_URL, or both: nothing says what to wait for.',
    )
  await Promise.all([...urls].map((url) => waitForOne(url, say)))
}

async function waitForOne(url: string, say: Say): Promise<void> {
  const { host, pathname } = new URL(url)
  const place = `${host}${pathname}`
  const db = connect(url, 5_000, 1)
  let last = ''
  try {
    for (;;) {
      const [isDone, sentence] = await look(db)
      if (sentence !== last) say(`${place} ${sentence}`)
      if (isDone) return
      last = sentence
      await pause(askEveryMs)
    }
  } finally {
    await db.stop()
  }
}

async function look(db: Database): Promise<[boolean, string]> {
  try {
    const { missing } = await readMigrationState(db)
    return missing.length === 0
      ? [true, 'is up to date']
      : [false, `waits for its migration: it lacks ${missing.join(', ')}`]
  } catch (error) {
    if (!(error instanceof Failure && error.retryable)) throw error
    return [false, `cannot be asked yet: ${error.message}`]
  }
}
