import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, renameSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { removeRecord, startTimeOf, writeRecord } from './process-records.ts'

/** A log that has grown past this is put aside at the next start as `<file>.1`. */
const logBytesMax = 10_000_000
/** The part of a log that is shown with a failure. */
const tailLines = 12

export interface ProcessOptions {
  home: string
  /** Names the record `<home>/run/<name>.json`; one process per name at a time. */
  name: string
  command: string
  args: readonly string[]
  logFile: string
  env?: NodeJS.ProcessEnv
  cwd?: string
  uid?: number
  gid?: number
}

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

export interface RunningProcess {
  readonly name: string
  readonly pid: number
  readonly exited: Promise<Exit>
  /** True once it has ended. */
  hasExited(): boolean
  /** Sends `signal`, after `graceMs` SIGKILL; resolves when the process has ended. */
  stop(signal: NodeJS.Signals, graceMs: number): Promise<Exit>
  /** What it has written to its log since this start. */
  output(): Promise<string>
  /** The last lines of that, for a failure's sentence. */
  outputTail(): Promise<string>
}

/**
 * Starts a process that outlives a Ctrl-C (it has a session of its own: whoever started it stops it, in order) and that
 * endLeftovers finds again if its parent is killed.
 */
export async function startProcess(options: ProcessOptions): Promise<RunningProcess> {
  const { home, name, logFile } = options
  const log = openLog(logFile)
  const child = spawn(options.command, options.args, {
    detached: true,
    stdio: ['ignore', log.fd, log.fd],
    cwd: options.cwd,
    env: options.env,
    ...(options.uid === undefined ? {} : { uid: options.uid }),
    ...(options.gid === undefined ? {} : { gid: options.gid }),
  })
  closeSync(log.fd)
  // spawn returns after the exec; recording before the next await leaves a kill of this process no time to lose a child.
  const forget = child.pid === undefined ? () => undefined : record(home, name, child.pid)
  let exit: Exit | undefined
  const exited = new Promise<Exit>((resolve) => {
    child.once('exit', (code, signal) => {
      exit = { code, signal }
      forget()
      resolve(exit)
    })
  })
  await once(child, 'spawn')
  const { pid } = child
  if (pid === undefined) throw new Error(`${name} was spawned without a pid`)
  return {
    name,
    pid,
    exited,
    hasExited: () => exit !== undefined,
    async stop(signal, graceMs) {
      child.kill(signal)
      const killer = setTimeout(() => child.kill('SIGKILL'), graceMs)
      return exited.finally(() => {
        clearTimeout(killer)
      })
    },
    output: () => readFrom(logFile, log.size),
    outputTail: async () =>
      (await readFrom(logFile, log.size)).trimEnd().split('\n').slice(-tailLines).join('\n'),
  }
}

/** Returns what takes the record back. */
function record(home: string, name: string, pid: number): () => void {
  const startTime = startTimeOf(pid)
  const ownStartTime = startTimeOf(process.pid)
  // No start time: it ended already, there is nothing to find again.
  if (startTime === undefined || ownStartTime === undefined) return () => undefined
  const written = { name, pid, startTime, owner: { pid: process.pid, startTime: ownStartTime } }
  writeRecord(home, written)
  return () => {
    removeRecord(home, written)
  }
}

function openLog(file: string): { fd: number; size: number } {
  mkdirSync(dirname(file), { recursive: true })
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0
  if (size <= logBytesMax) return { fd: openSync(file, 'a'), size }
  renameSync(file, `${file}.1`)
  return { fd: openSync(file, 'a'), size: 0 }
}

async function readFrom(file: string, position: number): Promise<string> {
  const handle = await open(file)
  try {
    const { size } = await handle.stat()
    const bytes = Buffer.alloc(Math.max(0, size - position))
    await handle.read(bytes, 0, bytes.length, position)
    return bytes.toString('utf8')
  } finally {
    await handle.close()
  }
}
