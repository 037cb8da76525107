import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Database, connectDatabase, connectReplication, migrate, sql } from '@likewise/database'
import { type EmbeddedPostgres, removeHome, startEmbeddedPostgres } from '@likewise/local-servers'
import { buildLogger } from '@likewise/service'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import { type Authority, makeAuthority } from './certificates.ts'

const log = buildLogger({ service: 'e2e', level: 'silent' })
let [ours, others]: Authority[] = []
let server: EmbeddedPostgres
let home: string
const open: Database[] = []

beforeAll(async () => {
  ;[ours, others] = [await makeAuthority(), await makeAuthority()]
  const identity = await ours.issue('postgres=IP:127.0.0.1')
  home = await mkdtemp(join(tmpdir(), 'likewise-secure-'))
  server = await startEmbeddedPostgres({ home, log, tls: { ...identity, clientCa: ours.ca } })
  await ours.issue('client')
  await others.issue('client')
}, 120_000)
afterEach(() => Promise.all(open.splice(0).map((db) => db.stop())))
afterAll(async () => {
  await server.kill()
  await removeHome(home)
  await Promise.all([ours?.remove(), others?.remove()])
})

interface Way {
  host?: string
  ca?: Authority | undefined
  /** Whose certificate the client shows. */
  client?: Authority | undefined
  sslmode?: string
}

function urlBy({ host = '127.0.0.1', ca = ours, client = ours, sslmode = 'verify-full' }: Way = {}): string {
  const url = new URL(server.url)
  url.hostname = host
  url.searchParams.set('sslmode', sslmode)
  if (sslmode === 'disable') return url.href
  url.searchParams.set('sslrootcert', join(ca?.folder ?? '', 'ca.crt'))
  url.searchParams.set('sslcert', join(client?.folder ?? '', 'client.crt'))
  url.searchParams.set('sslkey', join(client?.folder ?? '', 'client.key'))
  return url.href
}

function connect(url: string): Database {
  const limits = { poolSizeMax: 2, connectTimeoutMs: 3_000, statementTimeoutMs: 5_000 }
  const db = connectDatabase({ url, ...limits, applicationName: 'secure' })
  open.push(db)
  return db
}

/** What is wrong: the other CA, here or there. */
type Wrong = Omit<Way, 'ca' | 'client'> & { ca?: boolean; client?: boolean }

describe('PostgreSQL over TLS', () => {
  it('is migrated, used and read by replication, each encrypted, with certificates on both sides', async () => {
    await migrate(urlBy())
    const [row] = await connect(urlBy()).query(sql`
      select ssl, client_dn as client from pg_stat_ssl where pid = pg_backend_pid()`)
    expect(row).toEqual({ ssl: true, client: '/CN=client' })
    const replication = await connectReplication({
      url: urlBy(),
      applicationName: 'secure',
      connectTimeoutMs: 3_000,
      senderTimeoutMs: 5_000,
    })
    expect(await replication.query('select ssl from pg_stat_ssl where pid = pg_backend_pid()')).toEqual([
      { ssl: true },
    ])
    await replication.stop()
  })

  it.each([
    [
      'one whose certificate is of another CA',
      { ca: true },
      /certificate is not to be trusted \(see sslrootcert/,
    ],
    ['one whose certificate has another name', { host: 'localhost' }, /not to be trusted .*localhost/],
    [
      'one that trusts another CA for its clients',
      { client: true },
      /PostgreSQL is not available: .*(unknown ca|tls|ssl|terminated)/i,
    ],
    [
      'one that wants TLS, and is asked without',
      { sslmode: 'disable' },
      /PostgreSQL .*no pg_hba.conf entry.*no encryption/,
    ],
  ] as const)(
    'is not talked to where it is %s: an outage, with a sentence',
    async (_, wrong: Wrong, sentence) => {
      const { ca, client, ...way } = wrong
      const url = urlBy({ ...way, ...(ca && { ca: others }), ...(client && { client: others }) })
      const asked = connect(url).query(sql`select 1`)
      await expect(asked).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' })
      await expect(asked).rejects.toThrow(sentence)
      await expect(migrate(url)).rejects.toThrow(sentence)
    },
  )
})
