import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { type Login, assertNoneRefused, ensureLogins, urlOf } from './logins.ts'
import { raw, sql } from './sql.ts'
import { type TestDatabase, freshDatabase, pgClient } from './testing.ts'

let test: TestDatabase
const names: string[] = []

beforeAll(async () => {
  test = await freshDatabase('logins')
})
afterAll(async () => {
  for (const user of names) await test.db.execute(raw(`drop role if exists ${user}`))
  await test.drop()
})

function loginOf(role: Login['role'], { user = nameOf(), password = 'of-the-test' } = {}): Login {
  return { role, variable: 'X_DATABASE_URL', url: urlOf(test.url, { user, password }) }
}

function nameOf(): string {
  const user = `lw_${randomBytes(6).toString('hex')}`
  names.push(user)
  return user
}

async function userOf(url: string): Promise<unknown> {
  const client = await pgClient(url)
  const { rows } = await client.query('select current_user as me').finally(() => client.end())
  return rows
}

const made = (changed: string[]) => ({ changed, refused: [] })
const refused = (sentences: string[], changed: string[] = []) => ({
  changed,
  refused: sentences.map((sentence) =>
    expect.objectContaining({ message: expect.stringContaining(sentence) }),
  ),
})

describe('ensureLogins', () => {
  it('makes the user of a service, who can do what its role may and nothing else, and changes nothing the next time', async () => {
    const user = nameOf()
    const login = loginOf('likewise_api', { user })
    expect(await ensureLogins(test.url, [login])).toEqual(made([user]))
    const client = await pgClient(login.url)
    expect((await client.query('select count(*)::int as n from catalog.likes')).rows).toEqual([{ n: 0 }])
    await expect(client.query('select from catalog.outbox_meta')).rejects.toMatchObject({ code: '42501' })
    await client.end()
    expect(await ensureLogins(test.url, [login])).toEqual(made([]))
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
    expect(await ensureLogins(test.url, [fresh!])).toEqual(made([user]))
    expect(await userOf(fresh!.url)).toEqual([{ me: user }])
    await expect(userOf(old!.url)).rejects.toMatchObject({ code: '28P01' })
  })

  it('leaves a user of another kind alone, whoever it is: a slip takes nobody’s password away', async () => {
    const user = nameOf()
    await ensureLogins(test.url, [loginOf('likewise_reader', { user, password: 'first' })])
    const slip = await ensureLogins(test.url, [loginOf('likewise_api', { user, password: 'slip' })])
    expect(slip).toEqual(
      refused([
        `The user ${user} of X_DATABASE_URL exists and is not of likewise_api. Choose another name, or make it one: grant likewise_api to "${user}"`,
      ]),
    )
    expect(await userOf(urlOf(test.url, { user, password: 'first' }))).toEqual([{ me: user }])
  })

  it('makes the others where one was made by hand and is of no role, and ends with what keeps that one', async () => {
    const [byHand, other, last] = [nameOf(), nameOf(), nameOf()]
    await test.db.execute(raw(`create role ${byHand} login password 'by hand'`))
    const ensured = await ensureLogins(test.url, [
      loginOf('likewise_relay', { user: byHand }),
      loginOf('likewise_consumer', { user: other }),
      loginOf('likewise_reader', { user: last, password: 'süß' }),
    ])
    const sentences = [`make it one: grant likewise_relay to "${byHand}"`, 'may hold ASCII letters']
    expect(ensured).toEqual(refused(sentences, [other]))
    expect(() => {
      assertNoneRefused(ensured.refused)
    }).toThrow(new RegExp(sentences.join('.*\\n.*')))
    await test.db.execute(raw(`grant likewise_relay to ${byHand}`))
    expect(await ensureLogins(test.url, [loginOf('likewise_relay', { user: byHand })])).toEqual(
      made([byHand]),
    )
  })

  it('takes no password away from the user of another installation in the same cluster, and says whose it is', async () => {
    const user = nameOf()
    const [here, there] = [test, await freshDatabase('logins_there')]
    const of = (at: TestDatabase, password: string): [string, Login[]] => [
      at.url,
      [{ ...loginOf('likewise_api'), url: urlOf(at.url, { user, password }) }],
    ]
    const nameHere = new URL(here.url).pathname.slice(1)
    try {
      expect(await ensureLogins(...of(here, 'first'))).toEqual(made([user]))
      expect(await ensureLogins(...of(there, 'second'))).toEqual(
        refused([`The user ${user} of X_DATABASE_URL belongs to the database ${nameHere} of this server`]),
      )
      expect(await userOf(urlOf(here.url, { user, password: 'first' }))).toEqual([{ me: user }])
      // Both with one password is what somebody may want; and the owner's own migration gives a new one as before.
      expect(await ensureLogins(...of(there, 'first'))).toEqual(made([]))
      expect(await ensureLogins(...of(here, 'third'))).toEqual(made([user]))
      // As the sentence says, it can be handed over.
      const [sentence = ''] = (await ensureLogins(...of(there, 'second'))).refused.map(
        ({ message }) => message,
      )
      await test.db.execute(raw(/comment on role .*$/.exec(sentence)?.[0] ?? ''))
      expect(await ensureLogins(...of(there, 'second'))).toEqual(made([user]))
    } finally {
      await there.drop()
    }
    // A database that is no more has no say.
    expect(await ensureLogins(...of(here, 'fourth'))).toEqual(made([user]))
  })

  it('leaves what somebody has said about a user as it is', async () => {
    const user = nameOf()
    await test.db.execute(raw(`create role ${user} login password 'old' in role likewise_api`))
    await test.db.execute(raw(`comment on role ${user} is 'of the shop'`))
    expect(await ensureLogins(test.url, [loginOf('likewise_api', { user })])).toEqual(made([user]))
    const [said] = await test.db.query(
      sql`select shobj_description(oid, 'pg_authid') as note from pg_roles where rolname = ${user}`,
    )
    expect(said).toEqual({ note: 'of the shop' })
  })

  it('says that a user may not connect to the database, and what lets it', async () => {
    const [user, name] = [nameOf(), new URL(test.url).pathname.slice(1)]
    const login = loginOf('likewise_api', { user })
    await ensureLogins(test.url, [login])
    await test.db.execute(raw(`revoke connect on database ${name} from public`))
    try {
      expect(await ensureLogins(test.url, [login])).toEqual(
        refused([
          `may not connect to the database. Let its owner run: grant connect on database "${name}" to "${user}"`,
        ]),
      )
    } finally {
      await test.db.execute(raw(`grant connect on database ${name} to public`))
    }
  })

  it('needs no right to make users where all are there, and says what to run where one is missing', async () => {
    const [owner, user] = [nameOf(), nameOf()]
    const ownerUrl = urlOf(test.url, { user: owner, password: 'of-the-test' })
    await test.db.execute(raw(`create role ${owner} login password 'of-the-test'`))
    const login = loginOf('likewise_consumer', { user })
    const missing = await ensureLogins(ownerUrl, [login])
    expect(missing).toEqual(
      refused([`Let one who may run: create role "${user}" login password '…' in role likewise_consumer`]),
    )
    expect(missing.refused[0]).toMatchObject({ code: 'DATABASE_REFUSED', details: { sqlstate: '42501' } })
    await test.db.execute(raw(`create role ${user} login password 'of-the-test' in role likewise_consumer`))
    expect(await ensureLogins(ownerUrl, [login])).toEqual(made([]))
  })

  it('makes a user once when several migrations want it at the same time', async () => {
    const login = loginOf('likewise_operator')
    const outcomes = await Promise.all([1, 2, 3].map(() => ensureLogins(test.url, [login])))
    expect(outcomes.flatMap((outcome) => outcome.refused)).toEqual([])
    expect(await ensureLogins(test.url, [login])).toEqual(made([]))
  })

  it('takes the one who migrates for a user like any other, and makes none without a password', async () => {
    expect(await ensureLogins(test.url, [{ ...loginOf('likewise_api'), url: test.url }])).toEqual(made([]))
    const byCertificate = new URL(loginOf('likewise_api').url)
    byCertificate.password = ''
    expect(await ensureLogins(test.url, [{ ...loginOf('likewise_api'), url: byCertificate.href }])).toEqual(
      made([]),
    )
    expect(await ensureLogins(test.url, [loginOf('likewise_api', { password: 'süß' })])).toEqual(
      refused(['The password in X_DATABASE_URL may hold ASCII letters, digits and signs only.']),
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
