import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { workspaceRoot } from '@likewise/local-servers'
import { Failure } from '@likewise/service'
import type { DemoContext } from './context.ts'

/** A running program of examples/before. */
export interface BeforeProgram {
  readonly url: string
  /** Its own topic, if it has one. */
  readonly topic: string
  /** Ends it; it removes what it made. */
  readonly stop: () => Promise<void>
}

const startMs = 20_000
const stopMs = 15_000

/**
 * Starts a program of examples/before and waits for its address. It has a session of its own, so that a Ctrl-C does not
 * reach it (we stop it, in order), and a channel to us, so that it ends when we are killed.
 */
export async function startBeforeProgram(context: DemoContext, name: string): Promise<BeforeProgram> {
  const topic = `before-${name}-${context.newProductId()}`
  const child = fork(join(workspaceRoot, 'examples', 'before', `${name}.mjs`), {
    cwd: workspaceRoot,
    detached: true,
    env: { ...context.programEnv, TOPIC: topic, PORT: '0' },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  let said = ''
  const exited = once(child, 'exit')
  const url = new Promise<string>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        said += text
        const [, address] = /^listening on (\S+)$/m.exec(said) ?? []
        if (address !== undefined) resolve(address)
      })
    }
    const failed = (why: string) => {
      reject(new Failure('MISSING_TOOL', `examples/before/${name}.mjs ${why}:\n${said.trim()}`))
    }
    const timer = setTimeout(() => {
      failed(`is not ready after ${startMs / 1000} s`)
    }, startMs)
    child.once('exit', () => {
      clearTimeout(timer)
      failed('ended')
    })
  })
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGTERM')
    const killer = setTimeout(() => child.kill('SIGKILL'), stopMs)
    await exited
    clearTimeout(killer)
  }
  try {
    return { url: await url, topic, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
