// npm run test:compose: builds the images, then runs the stack of docker-compose.yml and tests it (e2e/src/compose.spec.ts).
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { prepare, root } from './prepare.mjs'

const run = (command, args, env = process.env) =>
  spawnSync(command, args, { cwd: root, env, stdio: 'inherit' }).status ?? 1

const { stdout } = spawnSync('docker', ['compose', 'version', '--short'], { encoding: 'utf8' })
const [major = 0, minor = 0] = (stdout ?? '').replace('v', '').split('.').map(Number)
// Before 2.24 `!reset` is passed over in silence, and the production overlay leaves ports open.
if (
  major < 2 ||
  (major === 2 && minor < 24) ||
  run('docker', ['info', '--format', 'engine {{.ServerVersion}}']) !== 0
) {
  console.error(
    'npm run test:compose needs a Docker engine that answers and Compose 2.24 or newer (docker compose version).',
  )
  process.exit(1)
}
await prepare()
const begun = performance.now()
const files = ['docker-compose.yml', 'docker-compose.pgbouncer.yml'].flatMap((file) => ['-f', file])
if (run('docker', ['compose', ...files, 'build', '--quiet']) !== 0) process.exit(1)
console.log(`images built in ${((performance.now() - begun) / 1000).toFixed(0)} s`)

const dir = mkdtempSync(join(tmpdir(), 'likewise-test-'))
const file = join(dir, 'compose.json')
const args = ['--json', `--outputFile=${file}`, '--runInBand', 'e2e/src/compose', ...process.argv.slice(2)]
const status = run(process.execPath, ['node_modules/jest/bin/jest.js', ...args], {
  ...process.env,
  LIKEWISE_TEST_COMPOSE: 'true',
  NODE_OPTIONS:
    `${process.env.NODE_OPTIONS ?? ''} --experimental-vm-modules --disable-warning=ExperimentalWarning`.trim(),
})
const counts = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined
rmSync(dir, { recursive: true, force: true })
console.log(
  counts === undefined
    ? '\nThe tests ended before they could be counted.'
    : `\nTests: ${counts.numPassedTests} passed, ${counts.numFailedTests} failed, ${counts.numPendingTests} skipped`,
)
process.exit(status)
