import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectDatabase, raw, urlOf } from '@likewise/database'
import { pgBouncerMissing, pgClient } from '@likewise/database/testing'
import {
  type EmbeddedPostgres,
  freePort,
  removeHome,
  startEmbeddedPostgres,
  workspaceRoot,
} from '@likewise/local-servers'
import { buildLogger } from '@likewise/service'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import { eventually } from '../system.ts'
import { type Authority, makeAuthority } from './certificates.ts'

const missing = pgBouncerMissing()
const describeIfThere = missing === undefined ? describe : describe.skip
if (missing !== undefined) process.stderr.write(`Skipped: PgBouncer as its image starts it. ${missing}\n`)

// Neither may be run by root.
const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}
const user = 'like "api"'
const password = `a/b:c@d?e#f%41 & "g\\h'`
let folder: string
let running: ChildProcess | undefined

/** As the image does, with a folder and a port of the test's own. */
async function start(urls: string): Promise<{ port: number; child: ChildProcess; said: () => string }> {
  const port = await freePort()
  const settings = ['listen_addr = 127.0.0.1', `listen_port = ${port}`, 'query_wait_timeout = 2']
  const env = {
    PATH: `${process.env['PATH'] ?? ''}:/usr/sbin`,
    TMPDIR: folder,
    DATABASE_URLS: urls,
    PGBOUNCER_SETTINGS: settings.join('\n'),
  }
  const script = join(workspaceRoot, 'deploy/pgbouncer/start.sh')
  const child = spawn('bash', [script], { env, ...nobody, stdio: ['ignore', 'ignore', 'pipe'] })
  running = child
  let said = ''
  child.stderr.on('data', (text) => (said += String(text)))
  return { port, child, said: () => said }
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'likewise-pgbouncer-'))
  if (nobody.uid !== undefined) await chown(folder, nobody.uid, nobody.gid)
})
afterEach(async () => {
  if (running?.exitCode !== null || running.signalCode !== null) return
  running.kill('SIGKILL')
  await once(running, 'exit')
})
afterAll(() => rm(folder, { recursive: true }))

describeIfThere('PgBouncer as its image starts it', () => {
  let [ours, others]: Authority[] = []
  let server: EmbeddedPostgres
  let home: string

  beforeAll(async () => {
    ;[ours, others] = [await makeAuthority(), await makeAuthority()]
    for (const authority of [ours, others]) {
      await chmod(authority.folder, 0o755)
      await chmod(join(authority.folder, 'ca.crt'), 0o644)
    }
    home = await mkdtemp(join(tmpdir(), 'likewise-secure-'))
    const log = buildLogger({ service: 'e2e', level: 'silent' })
    server = await startEmbeddedPostgres({ home, log, tls: await ours.issue('postgres=IP:127.0.0.1') })
    const owner = connectDatabase({
      url: urlBy(ours, server.url),
      poolSizeMax: 1,
      connectTimeoutMs: 5_000,
      statementTimeoutMs: 5_000,
      applicationName: 'likewise-e2e',
    })
    const quoted = (text: string, quote: string) => quote + text.replaceAll(quote, quote + quote) + quote
    await owner.execute(raw(`create role ${quoted(user, '"')} login password ${quoted(password, "'")}`))
    await owner.stop()
  }, 120_000)
  afterAll(async () => {
    await server.kill()
    await removeHome(home)
    await Promise.all([ours?.remove(), others?.remove()])
  })

  function urlBy(authority: Authority | undefined, url = urlOf(server.url, { user, password })): string {
    const found = new URL(url)
    found.searchParams.set('sslmode', 'verify-full')
    found.searchParams.set('sslrootcert', join(authority?.folder ?? '', 'ca.crt'))
    return found.href
  }

  async function ask(port: number): Promise<unknown> {
    const url = new URL(urlOf(server.url, { user, password }))
    url.port = String(port)
    const client = await pgClient(url.href)
    const asked = client.query('select ssl, current_user as me from pg_stat_ssl where pid = pg_backend_pid()')
    const { rows } = await asked.finally(() => client.end())
    return rows
  }

  /** Why it was not let in. */
  const refusal = (port: number): Promise<string> => ask(port).then(() => '', String)

  it('lets in a user of whatever name and password, and goes on by TLS where the URL says so', async () => {
    const { port } = await start(urlBy(ours))
    await eventually(async () => (await refusal(port)) === '')
    expect(await ask(port)).toEqual([{ ssl: true, me: user }])
  }, 60_000)

  it('talks to no PostgreSQL whose certificate is of another CA than that of the URL', async () => {
    const { port } = await start(urlBy(others))
    await eventually(async () => !(await refusal(port)).includes('ECONNREFUSED'))
    expect(await refusal(port)).toMatch(/server login failed|query_wait_timeout|SSL|TLS/i)
  }, 60_000)
})

describe('PgBouncer as its image starts it refuses', () => {
  it.each([
    ['a % that is none', 'postgres://a:100%@h/d', 'a % has to be written as %25'],
    [
      'TLS that asks for nobody',
      'postgres://a:b@h/d?sslmode=require',
      'sslmode may be verify-full or disable',
    ],
    ['TLS without a CA', 'postgres://a:b@h/d?sslmode=verify-full', 'sslmode=verify-full wants sslrootcert'],
    ['two servers', 'postgres://a:b@h/d postgres://a:b@g/d', 'all must be on one server'],
    ['TLS for some', 'postgres://a:b@h/d postgres://a:b@h/d?sslmode=disable', 'and be as safe'],
    [
      'what is no URL of PostgreSQL',
      'mysql://a:b@h/d',
      'postgres://user:password@host:5432/database is wanted',
    ],
    ['nothing to pool', ' ', 'DATABASE_URLS: there is none'],
  ])('%s', async (_, urls, sentence) => {
    const { child, said } = await start(urls)
    const [code] = (await once(child, 'close')) as [number]
    expect(said()).toContain(sentence)
    expect(code).toBe(1)
  })
})
