// npm start: everything on this machine, from a fresh clone. See README.
import { prepare, root } from './prepare.mjs'

await prepare()
const { start } = await import(`${root}/libs/local-servers/dist/index.js`)
process.exitCode = await start(process.argv.slice(2))
// Whatever may still hold the event loop, all is stopped by now.
process.exit()
