// npm run servers: PostgreSQL and Kafka alone, for tests by hand. Writes LIKEWISE_HOME/env and runs until Ctrl-C.
import { resolve } from 'node:path'
import { prepare, root } from './prepare.mjs'

// Before anything is started, and for good: a terminal's Ctrl-C reaches us twice, from the terminal and from npm.
const stopped = new Promise((done) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, done)
})
await prepare()
const { connectionsOf, startServers, writeConnections } = await import(
  `${root}/libs/local-servers/dist/index.js`
)
const { buildLogger, Failure, loadDotenv, maskPasswords } = await import(`${root}/libs/service/dist/index.js`)
try {
  loadDotenv(root)
  const home = resolve(root, process.env.LIKEWISE_HOME || '.likewise')
  const servers = await startServers({ home, log: buildLogger({ service: 'servers', level: 'warn' }) })
  await writeConnections(home, servers)
  for (const [name, value] of Object.entries(connectionsOf(servers))) console.log(`export ${name}=${value}`)
  await stopped
  await servers.stop()
  process.exit()
} catch (error) {
  if (!(error instanceof Failure)) throw error
  console.error(maskPasswords(error.message))
  process.exit(1)
}
