import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { workspaceRoot } from '@likewise/local-servers'

/** It waits outages out, also that of servers which a failed test has taken away. */
const longestMs = 240_000

/** What the command line tool, as a process, says; `status` also fails where there is no consumer. */
export const likewise = (settings: Readonly<Record<string, string>>, ...args: string[]): Promise<string> =>
  likewiseOf(workspaceRoot, settings, ...args)

/** The same, of the release that is built at `root`. */
export async function likewiseOf(
  root: string,
  settings: Readonly<Record<string, string>>,
  ...args: readonly string[]
): Promise<string> {
  const { NODE_OPTIONS: _n, ...inherited } = process.env
  const main = join(root, 'apps', 'cli', 'dist', 'main.js')
  return new Promise((resolve) => {
    const options = { env: { ...inherited, ...settings }, timeout: longestMs }
    execFile(process.execPath, [main, ...args], options, (_, stdout, stderr) => resolve(stdout + stderr))
  })
}
