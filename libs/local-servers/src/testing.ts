import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { buildLogger } from '@likewise/service'
import { removeHome } from './home.ts'

export const silentLog = buildLogger({ service: 'local-servers-test', level: 'silent' })

export interface TemporaryHome {
  home: string
  remove(): Promise<void>
}

/** A home in a directory of its own that other accounts may pass through, or may not. */
export async function temporaryHome(mode: 0o755 | 0o700 = 0o755): Promise<TemporaryHome> {
  const directory = await mkdtemp(join(tmpdir(), 'likewise-test-'))
  await chmod(directory, mode)
  const home = join(directory, 'home')
  return {
    home,
    async remove() {
      await removeHome(home)
      await rm(directory, { recursive: true, force: true })
    },
  }
}

interface Parent {
  url: string
  brokers?: string
  pids: number[]
  /** SIGKILL: it cannot take its children along. */
  kill(): Promise<void>
}

/** Another process that starts servers in `home` and waits; see testing/parent.mjs. */
export async function startParent(options: {
  home: string
  servers: 'postgres' | 'both'
  account?: { uid: number; gid: number }
}): Promise<Parent> {
  const file = (name: string) => fileURLToPath(new URL(`../testing/${name}`, import.meta.url))
  const args = ['--conditions=@likewise/source', '--import', file('typescript.mjs'), file('parent.mjs')]
  const child = spawn(process.execPath, [...args, options.home, options.servers], {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    env: { ...process.env, NODE_OPTIONS: '' },
    ...options.account,
  })
  const ended = once(child, 'exit')
  const lines = createInterface(child.stdout)
  const [line] = (await Promise.race([
    once(lines, 'line'),
    ended.then(() => Promise.reject(new Error('the parent ended before its servers were ready'))),
  ])) as [string]
  return {
    ...(JSON.parse(line) as Pick<Parent, 'url' | 'brokers' | 'pids'>),
    async kill() {
      child.kill('SIGKILL')
      await ended
      lines.close()
    },
  }
}
