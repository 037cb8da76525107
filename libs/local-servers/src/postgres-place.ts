import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, chown, cp, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Failure } from '@likewise/service'
import { runCommand } from './commands.ts'
import { shelterOf, shelterRoot } from './home.ts'
import type { PostgresBinaries } from './postgres-binaries.ts'

const commandTimeoutMs = 10_000

interface Account {
  uid: number
  gid: number
  name: string
}

/** Where a home's PostgreSQL runs from and, if not as the present user, as whom. */
export interface PostgresPlace {
  /** The directory beside whose other entries the data directory lies. */
  directory: string
  /** The data directory; it may not exist yet. */
  data: string
  bin: string
  account: Account | undefined
}

/**
 * An ordinary user runs the package's binaries on data in the home. Root cannot (PostgreSQL refuses), and the account
 * that runs it instead must reach both: where a folder above is closed to it (a checkout under /root, a temporary
 * directory of mode 0700), data and binaries lie in a shelter.
 */
export async function findPlace(home: string, binaries: PostgresBinaries): Promise<PostgresPlace> {
  const inHome = join(home, 'postgres')
  await mkdir(inHome, { recursive: true })
  if (process.getuid?.() !== 0) {
    return {
      directory: inHome,
      data: join(inHome, '18'),
      bin: join(binaries.directory, 'bin'),
      account: undefined,
    }
  }
  const sheltered = await shelterOf(home)
  const present = [inHome, sheltered].find((directory) => existsSync(join(directory, '18')))
  const account = await accountFor(present)
  await chmod(inHome, 0o711) // to pass through; the password in it stays root's
  const directory = present ?? ((await reaches(account, inHome)) ? inHome : sheltered)
  await openShelter(directory === sheltered ? [shelterRoot, sheltered] : [])
  if (!(await reaches(account, directory))) {
    throw new Failure(
      'DATABASE_UNAVAILABLE',
      `PostgreSQL runs as ${account.name}, since root may not run it, and ${account.name} cannot reach its data in ${directory}: a folder above is closed. Open it (chmod o+x) or start as an ordinary user.`,
    )
  }
  return { directory, data: join(directory, '18'), bin: await runnableBin(binaries, account), account }
}

/** Whoever owns the data already (perhaps an ordinary user started here before), else an account meant for this. */
async function accountFor(present: string | undefined): Promise<Account> {
  if (present !== undefined) {
    const { uid, gid } = await stat(join(present, '18'))
    if (uid !== 0) return { uid, gid, name: `user ${uid}` }
  }
  const accounts = parseAccounts(await readFile('/etc/passwd', 'utf8'))
  const account = ['postgres', '_postgres', 'nobody']
    .map((name) => accounts.get(name))
    .find((found) => found !== undefined)
  if (account !== undefined) return account
  throw new Failure(
    'DATABASE_UNAVAILABLE',
    'PostgreSQL refuses to run as root, and neither postgres nor nobody is an account of this machine. Start as an ordinary user.',
  )
}

export function parseAccounts(passwd: string): Map<string, Account> {
  const accounts = new Map<string, Account>()
  for (const line of passwd.split('\n')) {
    const [name = '', , uid = '', gid = ''] = line.split(':')
    if (/^-?\d+$/.test(uid) && /^-?\d+$/.test(gid))
      accounts.set(name, { name, uid: Number(uid), gid: Number(gid) })
  }
  return accounts
}

/** Asks by trying, since modes alone do not say it (access control lists, mount options). */
async function reaches(account: Account, directory: string): Promise<boolean> {
  const tried = await runCommand('/bin/sh', ['-c', 'cd "$0"', directory], {
    account,
    cwd: '/',
    timeoutMs: commandTimeoutMs,
  })
  return tried.ok
}

async function openShelter(directories: string[]): Promise<void> {
  for (const directory of directories) {
    await mkdir(directory, { recursive: true })
    await chmod(directory, 0o755)
  }
}

/** The bin directory of the binaries, or of their copy in the shelter if the account cannot run them where they are. */
async function runnableBin(binaries: PostgresBinaries, account: Account): Promise<string> {
  const runs = async (bin: string) =>
    (
      await runCommand(join(bin, 'postgres'), ['--version'], {
        account,
        cwd: '/',
        timeoutMs: commandTimeoutMs,
      })
    ).ok && (await reaches(account, join(bin, '..', 'share')))
  const bin = join(binaries.directory, 'bin')
  if (await runs(bin)) return bin
  const copy = join(shelterRoot, `postgres-${binaries.version}`)
  if (!existsSync(copy)) await copyBinaries(binaries.directory, copy)
  return join(copy, 'bin')
}

/** Appears whole or not at all: copied beside and renamed, so that a kill or a second copier leaves nothing half-made. */
async function copyBinaries(from: string, to: string): Promise<void> {
  const beside = `${to}.${randomBytes(4).toString('hex')}`
  await openShelter([shelterRoot])
  await cp(from, beside, { recursive: true, verbatimSymlinks: true })
  await openToAll(beside)
  try {
    await rename(beside, to)
  } catch (error) {
    await rm(beside, { recursive: true, force: true })
    if (!existsSync(to)) throw error
  }
}

/** An install under umask 077 gives everything to its owner alone. */
async function openToAll(directory: string): Promise<void> {
  await chmod(directory, 0o755)
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) await openToAll(path)
    else if (entry.isFile()) await chmod(path, (await stat(path)).mode & 0o100 ? 0o755 : 0o644)
  }
}

/** Gives a file or an empty directory to the account, if there is one. */
export async function give(path: string, account: Account | undefined): Promise<void> {
  if (account !== undefined) await chown(path, account.uid, account.gid)
}
