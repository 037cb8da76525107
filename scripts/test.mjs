// npm test: unit, integration and end-to-end tests on real PostgreSQL and Kafka, from a fresh clone.
//   --unit   only the pure ones (*.spec.ts without .int; of e2e the checker and the simulation): no servers
//   paths choose, e.g. npm test -- libs/outbox e2e/src/order
//   options go to jest, e.g. npm test -- libs/outbox -t 'a title' --verbose (values other than -t's after a =)
//   LIKEWISE_TEST_AGAIN=1, as in CI: up to three files that fail run once more, alone, and are named where they pass then
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative, resolve } from 'node:path'
import { prepare, root } from './prepare.mjs'

const args = process.argv.slice(2)
const unitOnly = args.includes('--unit')
const isPath = (arg, i) => !arg.startsWith('-') && !['-t', '--testNamePattern'].includes(args[i - 1])
const options = args.filter((arg, i) => arg !== '--unit' && !isPath(arg, i))
const paths = args.filter(isPath).map((path) => relative(root, resolve(root, path)))
// Whole processes and servers of their own: one at a time, or they starve each other on two cores.
const heavy = { 'e2e/': '/e2e/', 'libs/local-servers/': 'libs/local-servers/src/.*\\.int\\.spec' }
const isHeavy = (path) => Object.keys(heavy).some((room) => `${path}/`.startsWith(room))
const lightPaths = paths.filter((path) => !isHeavy(path))
// A path above a heavy room stands for what is heavy in it.
const heavyPaths = paths.flatMap((path) =>
  isHeavy(path)
    ? path
    : Object.keys(heavy).flatMap((room) => (room.startsWith(`${path}/`) ? heavy[room] : [])),
)
// Paths come first in each call: an option that takes a list takes every argument after it, even one given with a =.
const ignoring = (patterns) => patterns.map((pattern) => `--testPathIgnorePatterns=${pattern}`)

await prepare()
const dir = mkdtempSync(join(tmpdir(), 'likewise-test-'))
let interrupted = false
const unsteady = []
const againMax = 3
const leftOpenMs = 30_000
const children = new Set()
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    interrupted = true
    for (const child of children) child.kill('SIGTERM')
  })
}

const results = unitOnly
  ? [
      await run('unit', [
        ...paths,
        '--maxWorkers=2',
        ...options,
        ...ignoring(['\\.int\\.spec', '/e2e/src/(?!checker|simulation)']),
      ]),
    ]
  : await withServers(async (env) => {
      const light = [...lightPaths, '--maxWorkers=2', ...options, ...ignoring(Object.values(heavy))]
      const chosen = paths.length > 0 ? heavyPaths : Object.values(heavy)
      return [
        ...(paths.length === 0 || lightPaths.length > 0
          ? [await run('unit and integration', light, env)]
          : []),
        ...(chosen.length > 0
          ? [await run('whole processes', [...chosen, '--runInBand', ...options], env)]
          : []),
      ]
    })
rmSync(dir, { recursive: true, force: true })

const sum = (field) => results.reduce((total, result) => total + (result.counts?.[field] ?? 0), 0)
const failed = sum('numFailedTests') + results.filter((result) => result.broken).length
console.log(`\nTests: ${sum('numPassedTests')} passed, ${failed} failed, ${sum('numPendingTests')} skipped`)
if (unsteady.length > 0) console.log(`Failed once and passed alone, to be mended: ${unsteady.join(', ')}`)
const nothing = paths.length > 0 && results.every(({ counts }) => counts?.numTotalTests === 0)
if (nothing) console.error(`There is no such test: ${paths.join(' ')}`)
process.exit(failed > 0 || nothing || interrupted ? 1 : 0)

async function withServers(work) {
  const { connectionsOf, removeHome, startServers } = await import(`${root}/libs/local-servers/dist/index.js`)
  const { buildLogger, Failure } = await import(`${root}/libs/service/dist/index.js`)
  const home = join(dir, 'servers')
  try {
    const servers = await startServers({ home, log: buildLogger({ service: 'test', level: 'warn' }) })
    try {
      return await work(connectionsOf(servers))
    } finally {
      await servers.stop()
      await removeHome(home)
    }
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    console.error(error.message)
    process.exit(1)
  }
}

/** What fails on a busy machine only is a fault of its test; what fails twice is one of the code. */
async function run(what, jestArgs, env) {
  const first = await jest(what, jestArgs, env)
  const failed = (first.counts?.testResults ?? []).filter(({ status }) => status === 'failed')
  if (!process.env.LIKEWISE_TEST_AGAIN || interrupted || first.leaked) return first
  if (failed.length === 0 || failed.length > againMax) return first
  const files = failed.map(({ name }) => name)
  const again = await jest(`${what}, again`, ['--runTestsByPath', ...files, '--runInBand'], env)
  if (again.broken || again.counts.numFailedTests > 0) return first
  unsteady.push(...files.map((file) => relative(root, file)))
  const { numPassedTests, numFailedTests } = first.counts
  const counts = { ...first.counts, numPassedTests: numPassedTests + numFailedTests, numFailedTests: 0 }
  return { counts, broken: false }
}

/** A run counts as broken when jest fails for another reason than a test: a suite that does not load, an open handle. */
async function jest(what, jestArgs, env = {}) {
  if (interrupted) return { broken: true }
  console.log(`\n— ${what}`)
  const file = join(dir, `${what}.json`)
  const child = spawn(
    process.execPath,
    ['node_modules/jest/bin/jest.js', '--json', `--outputFile=${file}`, '--passWithNoTests', ...jestArgs],
    {
      cwd: root,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        ...process.env,
        ...env,
        NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --experimental-vm-modules --disable-warning=ExperimentalWarning`,
      },
    },
  )
  children.add(child)
  let words = ''
  let ending
  child.stderr.on('data', (chunk) => {
    words += chunk
    process.stderr.write(chunk)
    // Jest says so, and waits for ever.
    if (/did not exit/.test(words)) ending ??= setTimeout(() => child.kill('SIGKILL'), leftOpenMs)
  })
  const code = await new Promise((resolve) => child.on('close', resolve))
  clearTimeout(ending)
  children.delete(child)
  const counts = read(file)
  // Not that a worker was slow to end, which is no leak on a busy machine: jest.environment.mjs finds those.
  const leaked = /did not exit/.test(words)
  if (leaked) console.error("A test left something open: see jest's warning above.")
  return {
    counts,
    leaked,
    broken:
      leaked ||
      !counts ||
      counts.numRuntimeErrorTestSuites > 0 ||
      (code !== 0 && counts.numFailedTests === 0),
  }
}

function read(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}
