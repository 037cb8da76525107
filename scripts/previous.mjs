// The services as they were before: takes a commit out of the history, builds it once (no types, a few seconds), and prints
// where it is as JSON, { root } or { missing } with the reason. For the test of a rolling upgrade (e2e/src/upgrade.spec.ts).
// Its packages are those of this checkout.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import ts from 'typescript'
import { root } from './prepare.mjs'

// What is called the release before: the newest commit whose schema is three migrations behind, and the first one whose
// services may go on while the migrations run (lease_by_relay took a column away from those before it). Move it on with
// each release.
const commit = 'b0aff0d671800c9df54891f22fdf4e0500686f1c'
const lock = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .digest('hex')
const made = join(root, 'node_modules/.cache/likewise', `${commit.slice(0, 12)}-${lock.slice(0, 8)}`)

const missing = existsSync(made) ? undefined : build()
console.log(JSON.stringify(missing === undefined ? { root: made } : { missing }))

function build() {
  if (run('git', ['cat-file', '-e', `${commit}^{commit}`]).status !== 0)
    return `Commit ${commit.slice(0, 12)} is not in the history of this clone (git fetch --unshallow).`
  const beside = `${made}.${process.pid}`
  mkdirSync(beside, { recursive: true })
  const archive = run('git', [
    'archive',
    commit,
    'apps',
    'libs',
    'prisma',
    'package.json',
    'prisma.config.ts',
    'tsconfig.base.json',
  ])
  must(run('tar', ['-x', '-C', beside], { input: archive.stdout }))
  linkPackages(beside)
  must(run(process.execPath, [join(root, 'node_modules/prisma/build/index.js'), 'generate'], { cwd: beside }))
  for (const workspace of workspaces(beside))
    compile(join(beside, workspace, 'src'), join(beside, workspace, 'dist'))
  try {
    renameSync(beside, made)
  } catch {
    rmSync(beside, { recursive: true }) // somebody else was faster
  }
}

/** Its own libraries by their names; all other packages are found further up. */
function linkPackages(beside) {
  for (const workspace of workspaces(beside)) {
    const { name } = JSON.parse(readFileSync(join(beside, workspace, 'package.json'), 'utf8'))
    link(join('../..', workspace), join(beside, 'node_modules', name))
    const own = join(root, workspace, 'node_modules')
    if (existsSync(own)) link(own, join(beside, workspace, 'node_modules'))
  }
}

function link(target, path) {
  mkdirSync(dirname(path), { recursive: true })
  symlinkSync(target, path)
}

function workspaces(beside) {
  return ['apps', 'libs'].flatMap((kind) => readdirSync(join(beside, kind)).map((name) => join(kind, name)))
}

/** As the build does, without looking at types. */
function compile(from, to) {
  const compilerOptions = {
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.ESNext,
    verbatimModuleSyntax: true,
    rewriteRelativeImportExtensions: true,
  }
  for (const file of readdirSync(from, { recursive: true })) {
    if (!file.endsWith('.ts') || file.endsWith('.spec.ts')) continue
    const { outputText } = ts.transpileModule(readFileSync(join(from, file), 'utf8'), { compilerOptions })
    const out = join(to, file.replace(/\.ts$/, '.js'))
    mkdirSync(dirname(out), { recursive: true })
    writeFileSync(out, outputText)
  }
}

function run(command, args, options = {}) {
  return spawnSync(command, args, { cwd: root, maxBuffer: 256 * 1024 * 1024, ...options })
}

function must({ status, stderr, error }) {
  if (status !== 0) throw new Error(`The release before cannot be built: ${error ?? stderr}`)
}
