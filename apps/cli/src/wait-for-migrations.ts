import { type Database, readMigrationState } from '@likewise/database'
import { Failure, pause, readConfig } from '@likewise/service'
import { type Say, type Side, connect } from './catalog.ts'
import { WaitConfig } from './config.ts'

const askEveryMs = 1_000

/**
 * Changes nothing: waits until somebody has brought the databases that are named to where this version needs them, for what
 * is started before a service (an init container). An outage is waited out, too; what it waits for is said when it changes.
 */
export async function waitForMigrations(say: Say): Promise<void> {
  const config = readConfig(WaitConfig)
  const named = (['CATALOG_DATABASE_URL', 'METRICS_DATABASE_URL'] as const).flatMap((variable) => {
    const url = config[variable]
    return url === undefined ? [] : [{ variable, url }]
  })
  const sides = named.filter(({ url }, i) => named.findIndex((side) => side.url === url) === i)
  if (sides.length === 0)
    throw new Failure(
      'CONFIG_INVALID',
      'Set CATALOG_DATABASE_URL or METRICS_DATABASE_URL, or both: nothing says what to wait for.',
    )
  await Promise.all(sides.map((side) => waitForOne(side, say)))
}

async function waitForOne(side: Side, say: Say): Promise<void> {
  const { host, pathname } = new URL(side.url)
  const place = `${host}${pathname}`
  const db = connect(side, 5_000, 1)
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
