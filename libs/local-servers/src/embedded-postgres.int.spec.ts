import { existsSync, statSync } from 'node:fs'
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, it } from '@jest/globals'
import { connectDatabase, raw, sql } from '@likewise/database'
import type { Database } from '@likewise/database'
import { postgresAnswers } from './answers.ts'
import { startEmbeddedPostgres } from './embedded-postgres.ts'
import { shelterOf, shelterRoot } from './home.ts'
import { endLeftovers } from './leftovers.ts'
import type { LocalServer } from './local-server.ts'
import { freePort } from './ports.ts'
import { findPostgresBinaries } from './postgres-binaries.ts'
import { findPlace, parseAccounts } from './postgres-place.ts'
import { runCommand } from './commands.ts'
import { readRecords } from './process-records.ts'
import { silentLog, startParent, temporaryHome } from './testing.ts'
import { until } from './until.ts'

const itAsRoot = process.getuid?.() === 0 ? it : it.skip

/** An ordinary user cannot run a checkout that is closed to it, as one below a directory of mode 0700. */
function isOpenToOthers(path: string): boolean {
  const directories: string[] = []
  for (let at = dirname(path); at !== dirname(at); at = dirname(at)) directories.push(at)
  return (statSync(path).mode & 0o004) !== 0 && directories.every((at) => (statSync(at).mode & 0o001) !== 0)
}
const itOpenToOthers = isOpenToOthers(import.meta.filename) ? itAsRoot : it.skip

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function newHome(mode?: 0o755 | 0o700): Promise<string> {
  const temporary = await temporaryHome(mode)
  cleanups.push(() => temporary.remove())
  return temporary.home
}

async function startIn(home: string, port?: number) {
  const postgres = await startEmbeddedPostgres({ home, log: silentLog, port })
  cleanups.push(() => postgres.stop())
  return postgres
}

async function withDatabase<T>(url: string, work: (database: Database) => Promise<T>): Promise<T> {
  const database = connectDatabase({
    url,
    poolSizeMax: 1,
    connectTimeoutMs: 5_000,
    statementTimeoutMs: 10_000,
    applicationName: 'local-servers-test',
  })
  try {
    return await work(database)
  } finally {
    await database.stop()
  }
}

const writeRow = (url: string) =>
  withDatabase(url, async (database) => {
    await database.execute(sql`create table kept (n int)`)
    await database.execute(sql`insert into kept values (7)`)
  })

const readRows = (url: string) => withDatabase(url, (database) => database.query(sql`select n from kept`))

describe('embedded PostgreSQL', () => {
  it('is a PostgreSQL 18 with the settings that the project relies on', async () => {
    const { url, adminUrl } = await startIn(await newHome())
    const setting = (name: string) =>
      withDatabase(
        url,
        async (database) =>
          (await database.query<{ value: string }>(sql`select current_setting(${name}) as value`))[0]?.value,
      )
    expect(await setting('server_version')).toMatch(/^18\./)
    expect(await setting('wal_level')).toBe('logical')
    expect(await setting('max_connections')).toBe('200')
    expect(await setting('fsync')).toBe('on')
    expect(await setting('synchronous_commit')).toBe('on')
    expect(await setting('server_encoding')).toBe('UTF8')
    await withDatabase(adminUrl, (database) => database.execute(sql`create database ${raw('another')}`))
    expect(new URL(url).pathname).toBe('/likewise')
  })

  it('lets nobody in without its password', async () => {
    const { url } = await startIn(await newHome())
    const wrong = Object.assign(new URL(url), { password: 'guess' }).toString()
    await expect(readRows(wrong)).rejects.toMatchObject({ name: 'Failure' })
  })

  it('keeps data, port and password when it is stopped and started by another run', async () => {
    const home = await newHome()
    const first = await startIn(home)
    await writeRow(first.url)
    await first.stop()
    expect(first.pid).toBeUndefined()
    expect(await postgresAnswers(first.port)).toBe(false)
    const second = await startIn(home)
    expect(second.url).toBe(first.url)
    expect(await readRows(second.url)).toEqual([{ n: 7 }])
  })

  it('keeps data when it is killed and started again, twice', async () => {
    const postgres = await startIn(await newHome())
    await writeRow(postgres.url)
    for (const pidBefore of [postgres.pid, undefined]) {
      await postgres.kill()
      expect(postgres.pid).toBeUndefined()
      await postgres.start()
      expect(postgres.pid).not.toBe(pidBefore)
      expect(await readRows(postgres.url)).toEqual([{ n: 7 }])
    }
  })

  it('waits for a backend that outlives a kill', async () => {
    const home = await newHome()
    const postgres = await startIn(home)
    const busy = withDatabase(postgres.url, (database) =>
      database.query(sql`select count(*)::int as busy from generate_series(1, 5000000)`),
    ).catch(() => undefined)
    await withDatabase(postgres.adminUrl, async (database) => {
      const isBusy = sql`select 1 from pg_stat_activity where state = 'active' and query like '%as busy%' and datname = 'likewise'`
      expect(await until(async () => (await database.query(isBusy)).length > 0, 10_000)).toBe(true)
    })
    await postgres.kill()
    await postgres.start()
    await busy
    expect(await postgresAnswers(postgres.port)).toBe(true)
    expect(await readFile(join(home, 'logs', 'postgres.log'), 'utf8')).toContain('shared memory block')
  })

  it('is found and ended, data intact, when the run that started it was killed', async () => {
    const home = await newHome()
    const parent = await startParent({ home, servers: 'postgres' })
    await writeRow(parent.url)
    await parent.kill()
    const port = Number(new URL(parent.url).port)
    expect(await postgresAnswers(port)).toBe(true)
    expect(await endLeftovers(home)).toMatchObject([{ name: 'postgres', pid: parent.pids[0] }])
    expect(await postgresAnswers(port)).toBe(false)
    const next = await startIn(home)
    expect(next.url).toBe(parent.url)
    expect(await readRows(next.url)).toEqual([{ n: 7 }])
  })

  it('begins anew where an earlier start was killed while it made the cluster', async () => {
    const home = await newHome()
    await mkdir(join(home, 'postgres', '18.new-killed', 'data'), { recursive: true })
    await writeFile(join(home, 'postgres', '18.new-killed', 'data', 'PG_VERSION'), '18')
    await mkdir(join(home, 'postgres', '18', 'base'), { recursive: true })
    await writeRow((await startIn(home)).url)
    expect(existsSync(join(home, 'postgres', '18.new-killed'))).toBe(false)
  })

  it('says that a port somebody asked for is taken, and starts nothing', async () => {
    const home = await newHome()
    const port = await freePort()
    const other = createServer().listen(port, '127.0.0.1')
    await once(other, 'listening')
    await expect(startEmbeddedPostgres({ home, log: silentLog, port })).rejects.toMatchObject({
      code: 'PORT_IN_USE',
    })
    expect(readRecords(home)).toEqual([])
    other.close()
  })

  it('tells what PostgreSQL itself says when it does not start', async () => {
    const home = await newHome()
    const postgres = await startIn(home)
    await postgres.stop()
    const data =
      [join(home, 'postgres', '18'), join(await shelterOf(home), '18')].find((path) => existsSync(path)) ?? ''
    await writeFile(join(data, 'postgresql.auto.conf'), 'no_such_setting = 1\n')
    await expect(postgres.start()).rejects.toMatchObject({
      code: 'DATABASE_UNAVAILABLE',
      message: expect.stringContaining('no_such_setting'),
    })
    expect(readRecords(home)).toEqual([])
  })

  it('makes the links of its libraries where install scripts did not run', async () => {
    const { directory } = await findPostgresBinaries()
    const link = join(directory, 'lib', 'libpq.so')
    if (!existsSync(link)) return // other platforms name it otherwise
    await rm(link)
    await findPostgresBinaries()
    expect(existsSync(link)).toBe(true)
  })
})

describe('embedded PostgreSQL, started by root', () => {
  itAsRoot('runs as another account, in the home if that account can reach it', async () => {
    const home = await newHome()
    const { pid } = await startIn(home)
    expect((await stat(join(home, 'postgres', '18'))).uid).not.toBe(0)
    expect((await stat(`/proc/${pid}`)).uid).not.toBe(0)
    expect(((await stat(join(home, 'postgres', 'password'))).mode & 0o777).toString(8)).toBe('600')
  })

  itAsRoot(
    'keeps its data in a shelter when a folder above the home is closed, and removes it with the home',
    async () => {
      const temporary = await temporaryHome(0o700)
      const first = await startIn(temporary.home)
      const shelter = await shelterOf(temporary.home)
      await writeRow(first.url)
      await first.stop()
      expect(existsSync(join(shelter, '18', 'PG_VERSION'))).toBe(true)
      await chmod(dirname(temporary.home), 0o755)
      const second = await startIn(temporary.home) // finds it again although the home is open now
      expect(await readRows(second.url)).toEqual([{ n: 7 }])
      await second.stop()
      await temporary.remove()
      expect(existsSync(shelter)).toBe(false)
    },
  )

  itAsRoot('says so when data that lies in the home cannot be reached any more', async () => {
    const home = await newHome()
    await (await startIn(home)).stop()
    await chmod(dirname(home), 0o700)
    await expect(startEmbeddedPostgres({ home, log: silentLog })).rejects.toMatchObject({
      code: 'DATABASE_UNAVAILABLE',
      message: expect.stringContaining('chmod o+x'),
    })
  })

  itAsRoot('runs a copy of the binaries where the package is closed to that account', async () => {
    const { directory } = await findPostgresBinaries()
    const closed = await mkdtemp('/tmp/likewise-test-closed-')
    cleanups.push(() => rm(closed, { recursive: true }))
    await cp(directory, join(closed, 'native'), { recursive: true, verbatimSymlinks: true })
    await chmod(join(closed, 'native', 'lib'), 0o700) // as an install under umask 077 leaves it
    const version = `test-${process.pid}`
    const copy = join(shelterRoot, `postgres-${version}`)
    cleanups.push(() => rm(copy, { recursive: true, force: true }))
    const homes = [await newHome(), await newHome()]
    const places = await Promise.all(
      homes.map((home) => findPlace(home, { directory: join(closed, 'native'), version })),
    )
    expect(
      (await readdir(shelterRoot)).filter((name) => name.startsWith(`postgres-${version}`)),
    ).toHaveLength(1)
    for (const { bin, account } of places) {
      expect(bin).toBe(join(copy, 'bin'))
      const { output } = await runCommand(join(bin, 'postgres'), ['--version'], {
        account,
        cwd: '/',
        timeoutMs: 5_000,
      })
      expect(output).toMatch(/^postgres \(PostgreSQL\) 18/)
    }
  })

  itOpenToOthers(
    'leaves all that alone for an ordinary user, and later runs on as the owner of the data',
    async () => {
      const nobody = parseAccounts(await readFile('/etc/passwd', 'utf8')).get('nobody')
      if (nobody === undefined) return
      const home = await newHome()
      await mkdir(home)
      await runCommand('/bin/chown', [`${nobody.uid}:${nobody.gid}`, home], { timeoutMs: 5_000 })
      const parent = await startParent({
        home,
        servers: 'postgres',
        account: { uid: nobody.uid, gid: nobody.gid },
      })
      await writeRow(parent.url)
      await parent.kill()
      await endLeftovers(home)
      expect((await stat(join(home, 'postgres', '18'))).uid).toBe(nobody.uid)
      const asRoot: LocalServer & { url: string } = await startIn(home)
      expect(await readRows(asRoot.url)).toEqual([{ n: 7 }])
      expect((await stat(`/proc/${asRoot.pid}`)).uid).toBe(nobody.uid)
    },
  )
})
