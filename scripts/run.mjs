// npm run demo | bench | chaos | simulate | migrate: builds what is older than its sources, then runs the tool in this process.
import { prepare, root } from './prepare.mjs'

const tools = {
  demo: ['e2e/dist/demo/main.js'],
  bench: ['bench/dist/main.js'],
  chaos: ['e2e/dist/chaos/main.js'],
  simulate: ['e2e/dist/simulation/main.js'],
  migrate: ['apps/cli/dist/main.js', 'migrate'],
}
const [name, ...args] = process.argv.slice(2)
const [file, ...first] = tools[name]
await prepare()
process.argv.splice(1, process.argv.length - 1, `${root}/${file}`, ...first, ...args)
await import(`${root}/${file}`)
