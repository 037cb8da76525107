import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { workspaceRoot } from '@likewise/local-servers'

/** It waits outages out, also that of servers which a failed test has taken away. */
const longestMs = 240_000

/** What the command line tool, as a process, says; `status` also fails where there is no consumer. */
export async function likewise(
  settings: Readonly<Record<string, string>>,
  ...args: readonly string[]
): Promise<string> {
  const { NODE_OPTIONS: _n, ...inherited } = process.env
  const main = join(workspaceRoot, 'apps', 'cli', 'dist', 'main.js')
  return new Promise((resolve) => {
    const options = { env: { ...inherited, ...settings }, timeout: longestMs }
    execFile(process.execPath, [main, ...args], options, (_, stdout, stderr) => resolve(stdout + stderr))
  })
}
