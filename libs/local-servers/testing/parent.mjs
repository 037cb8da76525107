// A run that a test kills: `parent.mjs HOME postgres|both` starts servers, prints one line of JSON and waits.
import { buildLogger } from '@likewise/service'
import { startEmbeddedPostgres } from '../src/embedded-postgres.ts'
import { startServers } from '../src/servers.ts'

const [home, what] = process.argv.slice(2)
const log = buildLogger({ service: 'parent', level: 'silent' })

if (what === 'postgres') {
  const { url, pid } = await startEmbeddedPostgres({ home, log })
  console.log(JSON.stringify({ url, pids: [pid] }))
} else {
  const servers = await startServers({ home, log, env: { ...process.env, LIKEWISE_SERVERS: 'embedded' } })
  const pids = [servers.postgres.pid, servers.kafka.pid]
  console.log(JSON.stringify({ url: servers.catalogDatabaseUrl, brokers: servers.kafkaBrokers, pids }))
}
setInterval(() => undefined, 1_000_000)
