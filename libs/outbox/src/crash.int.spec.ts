import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdir, mkdtemp, rm, stat } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { queryableOfPg, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, pgClient } from '@likewise/database/testing'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import {
  type TestRelays,
  allPublished,
  buildRelays,
  intercepting,
  nameOf,
  numbered,
  until,
  write,
} from './testing.ts'

// The crashes are of a server of our own, made with the programs of the one that the tests use.
const shared = process.env['CATALOG_DATABASE_URL']
const programs = await findPrograms()
const onThisMachine = programs === null ? describe.skip : describe
const why = programs === null ? ' (skipped: the PostgreSQL of the tests runs on another machine)' : ''

interface Programs {
  bin: string
  uid: number
  gid: number
}

interface OwnServer {
  url: string
  /** Kills one of its processes, so that it throws away all memory and recovers from what had been flushed. */
  crash(): Promise<void>
  stop(): Promise<void>
}

let server: OwnServer
let test: TestDatabase
let relays: TestRelays

beforeAll(async () => {
  if (programs === null) return
  server = await startServer(programs)
  process.env['CATALOG_DATABASE_URL'] = server.url
})
afterAll(async () => {
  if (programs === null) return
  process.env['CATALOG_DATABASE_URL'] = shared
  await server.stop()
})
beforeEach(async () => {
  if (programs === null) return
  test = await freshDatabase('crash')
  relays = buildRelays(test)
})
afterEach(async () => {
  if (programs === null) return
  await relays.stop()
  expect(relays.bugs).toEqual([])
  await test.drop()
})

async function findPrograms(): Promise<Programs | null> {
  if (shared === undefined) return null
  const client = await pgClient(shared)
  try {
    const { rows } = await client.query<{ bin: string; data: string }>(`
      select setting as bin, current_setting('data_directory') as data from pg_config where name = 'BINDIR'`)
    const { bin, data } = rows[0]!
    const { uid, gid } = await stat(data)
    await stat(join(bin, 'initdb'))
    return { bin, uid, gid }
  } catch {
    return null
  } finally {
    await client.end()
  }
}

async function startServer({ bin, uid, gid }: Programs): Promise<OwnServer> {
  const directory = await mkdtemp(join(tmpdir(), 'likewise-crash-'))
  await chmod(directory, 0o755)
  const data = join(directory, 'data')
  await mkdir(data)
  await chown(data, uid, gid)
  const account = { uid, gid, cwd: directory, env: { LC_ALL: 'C', TZ: 'UTC' } }
  await promisify(execFile)(
    join(bin, 'initdb'),
    ['-D', data, '-U', 'postgres', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync'],
    account,
  )
  const port = await freePort()
  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_prepared_transactions: 5,
    // What was committed asynchronously stays unflushed until a synchronous commit comes by.
    wal_writer_delay: '10s',
    wal_writer_flush_after: '100MB',
  }
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const process_ = spawn(join(bin, 'postgres'), ['-D', data, ...args], { ...account, stdio: 'ignore' })
  const url = `postgresql://postgres@127.0.0.1:${port}/postgres`
  await answers(url)
  return {
    url,
    crash: () => crash(url),
    stop: async () => {
      await ended(process_)
      await rm(directory, { recursive: true, force: true })
    },
  }
}

async function freePort(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  listener.close()
  await once(listener, 'close')
  return port
}

async function ended(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit')
  child.kill('SIGINT') // fast: does not wait for clients
  await exited
}

const answers = (url: string): Promise<void> =>
  until('the server answers', async () => {
    const client = await pgClient(url).catch(() => null)
    await client?.end()
    return client !== null
  })

async function crash(url: string): Promise<void> {
  const [victim, witness] = [await pgClient(url), await pgClient(url)]
  const gone = Promise.all(
    [victim, witness].map((client) => {
      client.on('error', () => undefined)
      return new Promise<void>((resolve) => client.once('end', resolve))
    }),
  )
  const { rows } = await victim.query<{ pid: number }>('select pg_backend_pid() as pid')
  process.kill(rows[0]!.pid, 'SIGKILL')
  await gone
  await answers(url)
}

/** A writer that does not wait for the disk. */
async function hasty() {
  const client = await pgClient(test.url)
  client.on('error', () => undefined)
  await client.query('set synchronous_commit = off')
  return queryableOfPg(client)
}

const namesThere = async (): Promise<string[]> => {
  const rows = await test.db.query<{ name: string }>(
    sql`select payload->>'name' as name from catalog.outbox_events order by seq`,
  )
  return rows.map(({ name }) => name)
}

const isUp = () =>
  until('the pool has found the server again', () =>
    namesThere().then(
      () => true,
      () => false,
    ),
  )

// Renewals of leases are synchronous commits, which would flush for others: none within these tests.
const leaseMs = 60_000

onThisMachine(`a crash of PostgreSQL${why}`, () => {
  it('takes rows written with synchronous_commit = off, but none that was sent (I5)', async () => {
    let begun: string[] = []
    let crashing: { lost: string } | null = null
    relays.start({
      limits: { leaseMs },
      publish: async (events) => {
        begun.push(...events.map(nameOf))
        if (crashing === null) return
        await write(await hasty(), [crashing.lost], 'a')
        await server.crash()
        crashing = null
      },
    })
    const lost: string[] = []
    for (let round = 0; round < 4; round += 1) {
      const name = `lost${String(round)}`
      crashing = { lost: name }
      begun = []
      await write(await hasty(), numbered(`sent${String(round)}-`, 3), 'a')
      await until('the server was crashed while a page was on its way', () => crashing === null)
      await isUp()
      await allPublished(test.db)
      const there = new Set(await namesThere())
      expect(begun.filter((name) => !there.has(name))).toEqual([])
      if (!there.has(name)) lost.push(name)
    }
    expect(lost.length).toBeGreaterThan(0)
    expect(relays.firstCopies()).toEqual(await namesThere())
  })

  it('gives out xids again, and no row that is written under one is passed over (I1, I4)', async () => {
    let polls = 0
    const db = intercepting(test.as('likewise_relay'), async (statement, run) => {
      const rows = await run()
      if (statement.sql.includes('insert into catalog.outbox_cursors')) polls += 1
      return rows
    })
    relays.start({ db, limits: { leaseMs } })
    await write(test.db, ['before'], 'a')
    await allPublished(test.db)
    let reissued = 0
    for (let round = 0; round < 3; round += 1) {
      const writer = await hasty()
      let last = 0n
      for (let i = 0; i < 50; i += 1) {
        const [row] = await writer.query<{ xid: string }>(sql`select pg_current_xact_id()::text as xid`)
        last = BigInt(row!.xid)
      }
      // The relay has looked at the outbox while they were given out.
      const before = polls
      await until('it has polled', () => polls > before + 1)
      await server.crash()
      await isUp()
      for (const name of numbered(`round${String(round)}-`, 10)) {
        await write(test.db, [name], 'a')
        const [row] = await test.db.query<{ xid: bigint }>(sql`
          select xid::text::bigint as xid from catalog.outbox_events order by seq desc limit 1`)
        if (row!.xid <= last) reissued += 1
      }
    }
    expect(reissued).toBeGreaterThan(0)
    await allPublished(test.db)
    // A crash may come between a page and its settling: copies.
    expect(relays.firstCopies()).toEqual(await namesThere())
  })
})

onThisMachine(`a prepared transaction${why}`, () => {
  it('holds up nobody, and its events are sent once it is committed, a crash in between or not (I1)', async () => {
    relays.start({ limits: { leaseMs } })
    for (const [i, crashes] of [false, true].entries()) {
      const client = await pgClient(test.url)
      await client.query('begin')
      await write(queryableOfPg(client), [`prepared${String(i)}`], 'a')
      await client.query(`prepare transaction 'p${String(i)}'`)
      await client.end()
      await write(test.db, [`through${String(i)}`], 'a')
      await until('others pass', () => relays.names().includes(`through${String(i)}`))
      if (crashes) await server.crash()
      await isUp()
      expect(relays.names()).not.toContain(`prepared${String(i)}`)
      await test.db.execute(sql`commit prepared ${i === 0 ? sql`'p0'` : sql`'p1'`}`)
      await until('it comes', () => relays.names().includes(`prepared${String(i)}`))
    }
    const aborted = await pgClient(test.url)
    await aborted.query('begin')
    await write(queryableOfPg(aborted), ['rolled back'], 'a')
    await aborted.query("prepare transaction 'p2'")
    await aborted.query("rollback prepared 'p2'")
    await aborted.end()
    await write(test.db, ['last'], 'a')
    await allPublished(test.db)
    expect(relays.names()).toEqual(['through0', 'prepared0', 'through1', 'prepared1', 'last'])
  })
})
