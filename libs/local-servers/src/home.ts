import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { removeVolumes } from './container-engine.ts'
import { errorCode } from './error-code.ts'
import { endLeftovers } from './leftovers.ts'

/** Where root keeps what another account must reach, when the path to the home is closed to that account. */
export const shelterRoot = '/var/lib/likewise'

/** The directory of this home in the shelter, whether it exists or not. */
export async function shelterOf(home: string): Promise<string> {
  return join(shelterRoot, await homeId(home))
}

/**
 * Names what belongs to a home but lives elsewhere (shelter, volumes). Random and kept in the home, not made from its
 * path: a home that moves takes its data along, and a new one at an old path never meets what another left there.
 */
export function homeId(home: string): Promise<string> {
  return remember(join(home, 'id'), () => randomBytes(6).toString('hex'))
}

/** The password of this home's PostgreSQL, made once. Safe to put into a URL as it is. */
export function postgresPassword(home: string): Promise<string> {
  return remember(join(home, 'postgres', 'password'), () => randomBytes(18).toString('base64url'))
}

/** Removes a home with everything that belongs to it. Leftovers are ended; a home in use is refused (ALREADY_RUNNING). */
export async function removeHome(home: string): Promise<void> {
  await endLeftovers(home)
  const id = await contents(join(home, 'id'))
  if (id !== undefined && /^[0-9a-f]{12}$/.test(id)) {
    await rm(join(shelterRoot, id), { recursive: true, force: true, maxRetries: 5 })
    if (existsSync(join(home, 'containers'))) await removeVolumes(id)
  }
  await rm(home, { recursive: true, force: true, maxRetries: 5 })
}

async function remember(file: string, make: () => string): Promise<string> {
  const present = await contents(file)
  if (present !== undefined) return present
  const made = make()
  await mkdir(dirname(file), { recursive: true })
  await writeFile(`${file}.new`, `${made}\n`, { mode: 0o600 })
  await rename(`${file}.new`, file)
  return made
}

async function contents(file: string): Promise<string | undefined> {
  try {
    return (await readFile(file, 'utf8')).trim() || undefined
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}
