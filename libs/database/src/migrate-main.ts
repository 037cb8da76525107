import { Failure, loadDotenv, postgresUrl, readConfig } from '@likewise/service'
import { Type } from 'typebox'
import { migrate } from './migrate.ts'
import { unusableDatabase } from './require-schema.ts'

const schema = Type.Object({
  CATALOG_DATABASE_URL: postgresUrl('PostgreSQL of the producer side'),
  METRICS_DATABASE_URL: Type.Optional(
    postgresUrl('PostgreSQL of the consumer side; the same one unless set'),
  ),
})

async function main(): Promise<void> {
  loadDotenv()
  const config = readConfig(schema)
  for (const variable of ['CATALOG_DATABASE_URL', 'METRICS_DATABASE_URL'] as const) {
    const url = config[variable]
    if (!url || (variable === 'METRICS_DATABASE_URL' && url === config.CATALOG_DATABASE_URL)) continue
    const { applied } = await migrate(url).catch((error: unknown) => {
      throw error instanceof Failure ? unusableDatabase(variable, error) : error
    })
    const { host, pathname } = new URL(url)
    for (const name of applied) say(`applied ${name} to ${host}${pathname}`)
    if (applied.length === 0) say(`${host}${pathname} is up to date`)
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

try {
  await main()
  process.exit(0)
} catch (error) {
  process.stderr.write(`${error instanceof Failure ? error.message : String((error as Error).stack)}\n`)
  process.exit(1)
}
