// A tool of Python's, installed once into a cache folder of its own.
import { spawnSync } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** @returns the path of its command, or nothing where there is no Python, or it cannot be fetched. */
export function installPython(requirement, command) {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  const folder = join(cache, 'likewise', requirement.replace('==', '-'))
  const path = join(folder, 'bin', command)
  if (existsSync(path)) return path
  const python = spawnSync('python3', [
    '-c',
    'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))',
  ])
  if (python.status !== 0) return undefined
  rmSync(folder, { recursive: true, force: true })
  console.log(`installing ${requirement} into ${folder}`)
  for (const [program, ...args] of [
    ['python3', '-m', 'venv', folder],
    [join(folder, 'bin', 'pip'), 'install', '--quiet', '--disable-pip-version-check', requirement],
  ]) {
    const { status } = spawnSync(program, args, { stdio: 'inherit' })
    if (status !== 0) {
      rmSync(folder, { recursive: true, force: true })
      console.log(`${program} ${args.join(' ')} failed with code ${status}.`)
      return undefined
    }
  }
  return path
}
