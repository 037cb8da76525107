// Brings a checkout to where it can run: installs, generates and builds what is missing or older than its sources.
// Plain JavaScript without dependencies, because it runs before there are any.
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Ends the process with one sentence when Node is too old; later errors would be about syntax. */
export function requireNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major > 20 || (major === 20 && minor >= 19)) return
  console.error(`Likewise needs Node 20.19 or newer (24 is recommended); this is ${process.versions.node}.`)
  process.exit(1)
}

export async function prepare(...compilerOptions) {
  requireNode()
  if (isOlder('node_modules/.package-lock.json', 'package-lock.json')) {
    // No install script is needed, and some would try to download: see docs/development.md.
    await step('installing packages (a minute or two)', 'npm', [
      'ci',
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      '--loglevel=error',
    ])
  }
  const stamp = 'libs/database/src/generated/.schema.prisma'
  const { version } = JSON.parse(read('node_modules/prisma/package.json') ?? '{}')
  const made = `// by Prisma ${version}\n${read('prisma/schema.prisma') ?? ''}`
  if (read(stamp) !== made) {
    await step('generating the database client', process.execPath, [
      'node_modules/prisma/build/index.js',
      'generate',
    ])
    writeFileSync(join(root, stamp), made)
  }
  const compiler = ['node_modules/typescript/bin/tsc', '-b', 'tsconfig.build.json', ...compilerOptions]
  await step('building', process.execPath, compiler)
}

/** Runs a command whose words are shown only if it fails. */
export function step(what, command, args) {
  const begun = performance.now()
  process.stdout.write(`  ${what} …`)
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
    let words = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (words += chunk))
    const pass = (signal) => child.kill(signal)
    process.on('SIGTERM', pass).on('SIGINT', pass)
    child.on('error', reject)
    child.on('close', (code, signal) => {
      process.off('SIGTERM', pass).off('SIGINT', pass)
      process.stdout.write(` ${((performance.now() - begun) / 1000).toFixed(1)} s\n`)
      if (code === 0) return resolve()
      process.stderr.write(words)
      if (!signal) console.error(`${command} ${args.join(' ')} failed with code ${code}.`)
      process.exit(signal ? 130 : 1)
    })
  })
}

const read = (path) => (existsSync(join(root, path)) ? readFileSync(join(root, path), 'utf8') : undefined)

function isOlder(made, source) {
  const madeAt = statSync(join(root, made), { throwIfNoEntry: false })?.mtimeMs ?? -1
  return madeAt < statSync(join(root, source)).mtimeMs
}
