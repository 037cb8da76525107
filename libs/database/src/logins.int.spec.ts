import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { type Login, ensureLogins, urlOf } from './logins.ts'
import { raw, sql } from './sql.ts'
import { type TestDatabase, freshDatabase, pgClient } from './testing.ts'

let test: TestDatabase
const made: string[] = []

beforeAll(async () => {
  test = await freshDatabase('logins')
})
afterAll(async () => {
  for (const user of made) await test.db.execute(raw(`drop role if exists ${user}`))
  await test.drop()
})

function loginOf(role: Login['role'], { user = nameOf(), password = 'of-the-test' } = {}): Login {
  return { role, variable: 'X_DATABASE_URL', url: urlOf(test.url, { user, password }) }
}

function nameOf(): string {
  const user = `lw_${randomBytes(6).toString('hex')}`
  made.push(user)
  return user
}

async function userOf(url: string): Promise<unknown> {
  const client = await pgClient(url)
  const { rows } = await client.query('select current_user as me').finally(() => client.end())
  return rows
}

describe('ensureLogins', () => {
  it('makes the user of a service, who can do what its role may and nothing else, and changes nothing the next time', async () => {
    const user = nameOf()
    const login = loginOf('likewise_api', { user })
    expect(await ensureLogins(test.url, [login])).toEqual([user])
    const client = await pgClient(login.url)
    expect((await client.query('select count(*)::int as n from catalog.likes')).rows).toEqual([{ n: 0 }])
    await expect(client.query('select from catalog.outbox_meta')).rejects.toMatchObject({ code: '42501' })
    await client.end()
    expect(await ensureLogins(test.url, [login])).toEqual([])
  })

  it('keeps of the password what PostgreSQL keeps, so that it stands in no statement', async () => {
    const user = nameOf()
    await ensureLogins(test.url, [loginOf('likewise_relay', { user, password: `it's "c4n4ry" & %40` })])
    const [stored] = await test.db.query(
      sql`select rolpassword like 'SCRAM-SHA-256$4096:%' as hashed from pg_authid where rolname = ${user}`,
    )
    expect(stored).toEqual({ hashed: true })
  })

  it('gives a user of the role a new password when its URL has one', async () => {
    const user = nameOf()
    const [old, fresh] = ['one', 'two'].map((password) => loginOf('likewise_reader', { user, password }))
    await ensureLogins(test.url, [old!])
    expect(await ensureLogins(test.url, [fresh!])).toEqual([user])
    expect(await userOf(fresh!.url)).toEqual([{ me: user }])
    await expect(userOf(old!.url)).rejects.toMatchObject({ code: '28P01' })
  })

  it('leaves a user of another kind alone, whoever it is: a slip takes nobody’s password away', async () => {
    const user = nameOf()
    await ensureLogins(test.url, [loginOf('likewise_reader', { user, password: 'first' })])
    const slip = ensureLogins(test.url, [loginOf('likewise_api', { user, password: 'slip' })])
    await expect(slip).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await expect(slip).rejects.toThrow(
      `The user ${user} of X_DATABASE_URL exists and is not of likewise_api. Choose another name, or make it one: grant likewise_api to "${user}"`,
    )
    expect(await userOf(urlOf(test.url, { user, password: 'first' }))).toEqual([{ me: user }])
  })

  it('needs no right to make users where all are there, and says what to run where one is missing', async () => {
    const [owner, user] = [nameOf(), nameOf()]
    const ownerUrl = urlOf(test.url, { user: owner, password: 'of-the-test' })
    await test.db.execute(raw(`create role ${owner} login password 'of-the-test'`))
    const login = loginOf('likewise_consumer', { user })
    const missing = ensureLogins(ownerUrl, [login])
    await expect(missing).rejects.toMatchObject({ code: 'DATABASE_REFUSED', details: { sqlstate: '42501' } })
    await expect(missing).rejects.toThrow(
      `Let one who may run: create role "${user}" login password '…' in role likewise_consumer`,
    )
    await test.db.execute(raw(`create role ${user} login password 'of-the-test' in role likewise_consumer`))
    expect(await ensureLogins(ownerUrl, [login])).toEqual([])
  })

  it('makes a user once when several migrations want it at the same time', async () => {
    const login = loginOf('likewise_operator')
    const outcomes = await Promise.all([1, 2, 3].map(() => ensureLogins(test.url, [login])))
    expect(outcomes.flat().length).toBeLessThanOrEqual(3)
    expect(await ensureLogins(test.url, [login])).toEqual([])
  })

  it('takes the one who migrates for a user like any other, and makes none without a password', async () => {
    expect(await ensureLogins(test.url, [{ ...loginOf('likewise_api'), url: test.url }])).toEqual([])
    const byCertificate = new URL(loginOf('likewise_api').url)
    byCertificate.password = ''
    expect(await ensureLogins(test.url, [{ ...loginOf('likewise_api'), url: byCertificate.href }])).toEqual(
      [],
    )
    await expect(ensureLogins(test.url, [loginOf('likewise_api', { password: 'süß' })])).rejects.toThrow(
      'The password in X_DATABASE_URL may hold ASCII letters, digits and signs only.',
    )
  })

  it('says that the server is away, and does not take that for a wrong password', async () => {
    const away = new URL(test.url)
    away.port = '1'
    await expect(ensureLogins(away.href, [loginOf('likewise_api')])).rejects.toMatchObject({
      code: 'DATABASE_UNAVAILABLE',
    })
  })
})
