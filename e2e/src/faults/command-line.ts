import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { workspaceRoot } from '@likewise/local-servers'

/** What the command line tool, as a process, says; `status` also fails where there is no consumer. */
export async function likewise(
  settings: Readonly<Record<string, string>>,
  ...args: readonly string[]
): Promise<string> {
  const { NODE_OPTIONS: _n, ...inherited } = process.env
  const main = join(workspaceRoot, 'apps', 'cli', 'dist', 'main.js')
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...args], { env: { ...inherited, ...settings } }, (_, stdout, stderr) =>
      resolve(stdout + stderr),
    )
  })
}
