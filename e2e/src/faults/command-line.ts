import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { workspaceRoot } from '@likewise/local-servers'

/** It waits outages out, also that of servers which a failed test has taken away. */
const longestMs = 240_000

/** What the command line tool, as a process, says; `status` also fails where there is no consumer. */
export const likewise = (settings: Settings, ...args: string[]): Promise<string> =>
  likewiseOf(workspaceRoot, settings, ...args)

/** The same, of the release that is built at `root`. */
export async function likewiseOf(
  root: string,
  settings: Settings,
  ...args: readonly string[]
): Promise<string> {
  const { stdout, stderr } = await endOf(root, settings, args)
  return stdout + stderr
}

/** What it says for programs, and with which code it ends. */
export async function likewiseJson<T>(
  settings: Settings,
  ...args: readonly string[]
): Promise<T & { code: number }> {
  const { stdout, stderr, code } = await endOf(workspaceRoot, settings, [...args, '--json'])
  if (stdout === '') throw new Error(`likewise ${args.join(' ')} ended with ${String(code)}: ${stderr}`)
  return { ...(JSON.parse(stdout) as T), code }
}

type Settings = Readonly<Record<string, string>>

async function endOf(
  root: string,
  settings: Settings,
  args: readonly string[],
): Promise<{ stdout: string; stderr: string; code: number }> {
  const { NODE_OPTIONS: _n, ...inherited } = process.env
  const main = join(root, 'apps', 'cli', 'dist', 'main.js')
  return new Promise((resolve) => {
    const options = { env: { ...inherited, ...settings }, timeout: longestMs, maxBuffer: 64_000_000 }
    const child = execFile(process.execPath, [main, ...args], options, (_, stdout, stderr) =>
      resolve({ stdout, stderr, code: child.exitCode ?? -1 }),
    )
  })
}
