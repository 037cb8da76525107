import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { workspaceRoot } from '@likewise/local-servers'

export interface Identity {
  cert: string
  key: string
}

/** A CA of the test's own. */
export interface Authority {
  /** Its certificate, in PEM, and the folder that all of it lies in. */
  ca: string
  folder: string
  /** Named as deploy/tls/make-certificates.sh wants it; a server as `name=DNS:…`. */
  issue(name: string): Promise<Identity>
  remove(): Promise<void>
}

const run = promisify(execFile)

export async function makeAuthority(): Promise<Authority> {
  const folder = await mkdtemp(join(tmpdir(), 'likewise-ca-'))
  const make = (...names: string[]) =>
    run('sh', [join(workspaceRoot, 'deploy/tls/make-certificates.sh'), folder, ...names])
  const read = (file: string) => readFile(join(folder, file), 'utf8')
  await make()
  return {
    ca: await read('ca.crt'),
    folder,
    async issue(wanted) {
      await make(wanted)
      const [name = ''] = wanted.split('=')
      return { cert: await read(`${name}.crt`), key: await read(`${name}.key`) }
    },
    remove: () => rm(folder, { recursive: true }),
  }
}
