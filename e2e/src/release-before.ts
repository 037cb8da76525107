import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { workspaceRoot } from '@likewise/local-servers'

/** The services of the release before, built from this clone's history; or why they are not to be had. */
export async function releaseBefore(): Promise<{ root?: string; missing?: string }> {
  const script = join(workspaceRoot, 'scripts', 'previous.mjs')
  const { NODE_OPTIONS: _n, ...env } = process.env
  const { stdout } = await promisify(execFile)(process.execPath, [script], { env })
  return JSON.parse(stdout) as { root?: string; missing?: string }
}
