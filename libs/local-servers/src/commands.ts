import { execFile } from 'node:child_process'

const outputBytesMax = 4_000_000

export interface CommandOptions {
  timeoutMs: number
  cwd?: string
  env?: NodeJS.ProcessEnv
  /** The account to run as; only root can choose one. */
  account?: { uid: number; gid: number } | undefined
  input?: string
}

interface CommandResult {
  ok: boolean
  /** True when there is no such program. */
  missing: boolean
  /** stdout and stderr, the latter last. */
  output: string
  error: Error | null
}

/** Runs a program to its end. How it ended is a value: what a failure means, the caller knows. */
export function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions,
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = execFile(
      command,
      args,
      {
        timeout: options.timeoutMs,
        killSignal: 'SIGKILL',
        maxBuffer: outputBytesMax,
        encoding: 'utf8',
        cwd: options.cwd,
        env: options.env,
        ...(options.account === undefined ? {} : { uid: options.account.uid, gid: options.account.gid }),
      },
      (error, stdout, stderr) => {
        resolve({
          ok: error === null,
          missing: error?.code === 'ENOENT',
          output: `${stdout}${stderr}`,
          error,
        })
      },
    )
    // A program may end without reading its input; how it ended says enough.
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(options.input ?? '')
  })
}

/** The last lines of what a program wrote, for a failure's sentence. */
export function tail(output: string, lines = 8): string {
  return output.trimEnd().split('\n').slice(-lines).join('\n')
}
