// npm run check: the one gate, the same here and in CI. Ends with the tests' summary line.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { prepare, root } from './prepare.mjs'

const bin = (name) => [process.execPath, join('node_modules/.bin', name)]
// Nx's plugins in processes of their own cost seconds on each call and guard against nothing here.
const env = { ...process.env, NX_ISOLATE_PLUGINS: 'false', NX_DAEMON: 'false', NX_NO_CLOUD: 'true' }

const checks = [
  ['format', [...bin('prettier'), '--check', '--log-level=warn', '.']],
  ['project references', [...bin('nx'), 'sync:check']],
  ['types', [...bin('tsc'), '-b', 'tsconfig.json']],
  ['lint and boundaries', [...bin('nx'), 'run-many', '-t', 'lint', '--output-style=static']],
  ['unused files, exports and dependencies', [...bin('knip')]],
  ['settings table', [process.execPath, 'scripts/settings.mjs', '--check']],
  ['contracts and their client', [process.execPath, 'scripts/contracts.mjs', '--check']],
  ['licences', [process.execPath, 'scripts/licences.mjs', '--check']],
  ['known vulnerabilities', [process.execPath, 'scripts/audit.mjs', '--check']],
  ['tests', [process.execPath, 'scripts/test.mjs']],
]

await prepare()
for (const [what, [command, ...args]] of checks) {
  const begun = performance.now()
  console.log(`\n== ${what}`)
  const { status } = spawnSync(command, args, { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) {
    console.error(`\n${what}: failed`)
    process.exit(status ?? 1)
  }
  if (what !== 'tests') console.log(`${what}: ok, ${((performance.now() - begun) / 1000).toFixed(0)} s`)
}
