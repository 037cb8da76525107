import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { SignJWT, UnsecuredJWT, base64url, exportJWK, exportSPKI, generateKeyPair } from 'jose'
import type { CryptoKey, JWK } from 'jose'
import type { Auth } from './auth.ts'
import type { TokenRules } from './auth-config.ts'
import { buildLogger } from './logger.ts'
import { pause } from './pause.ts'
import { tokens } from './token.ts'

const issuer = 'https://id.example'
const audience = 'likewise'
const nowS = () => Math.floor(Date.now() / 1_000)

interface Key {
  kid: string
  privateKey: CryptoKey
  publicKey: CryptoKey
  jwk: JWK
}
async function newKey(kid: string, alg = 'RS256'): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  return { kid, privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), kid, alg } }
}

/** A real JWKS server; `answer` is what it says. */
let server: Server
let url: string
let asked: number
let answer: { status?: number; body?: string; silent?: boolean; keys?: Key[] }
let lines: string[]
const auths: Auth[] = []

const listen = (port = 0) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
const shut = () =>
  new Promise<void>((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })

beforeEach(async () => {
  asked = 0
  answer = {}
  lines = []
  server = createServer((_request, response) => {
    asked += 1
    if (answer.silent) return
    const body = answer.body ?? JSON.stringify({ keys: (answer.keys ?? []).map(({ jwk }) => jwk) })
    response.writeHead(answer.status ?? 200, { 'content-type': 'application/json' }).end(body)
  })
  await listen()
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`
})
afterEach(async () => {
  await Promise.all(auths.splice(0).map((auth) => auth.stop()))
  if (server.listening) await shut()
})

const timing = {
  refreshMs: 60_000,
  retryMs: 20,
  unknownKeyMs: 50,
  fetchMsMax: 300,
  waitMsMax: 250,
  keptMsMax: 60_000,
}

function authOf(rules: Partial<TokenRules> = {}, times: Partial<typeof timing> = {}): Auth {
  const auth = tokens(
    {
      issuer,
      audience,
      algorithms: ['RS256', 'PS256', 'ES256', 'EdDSA'],
      keys: { jwksUrl: url },
      anyUserScope: undefined,
      ...rules,
    },
    {
      log: buildLogger({ service: 'test', level: 'trace' }, { write: (line) => void lines.push(line) }),
      timing: { ...timing, ...times },
    },
  )
  auths.push(auth)
  return auth
}

const claims = () => ({ iss: issuer, aud: audience, sub: '7', iat: nowS(), exp: nowS() + 60 })

function sign(key: Key, changed: Record<string, unknown> = {}, alg = 'RS256'): Promise<string> {
  return new SignJWT({ ...claims(), ...changed })
    .setProtectedHeader({ alg, kid: key.kid })
    .sign(key.privateKey)
}

const bearer = (token: string) => `Bearer ${token}`
const unauthenticated = (sentence: RegExp) => ({
  code: 'UNAUTHENTICATED',
  message: expect.stringMatching(sentence),
})
const unavailable = { code: 'IDENTITY_UNAVAILABLE', httpStatus: 503 }

async function eventually(check: () => Promise<void>): Promise<void> {
  for (let tries = 0; tries < 100; tries += 1) {
    const failed = await check().then(
      () => false,
      () => true,
    )
    if (!failed) return
    await pause(20)
  }
  await check()
}

describe('a token', () => {
  it.each(['RS256', 'PS256', 'ES256', 'EdDSA'])(
    'signed with %s says which user its caller is',
    async (alg) => {
      const key = await newKey('one', alg)
      answer = { keys: [key] }
      const token = await sign(key, {}, alg)
      expect(await authOf().authenticate(bearer(token))).toEqual({ caller: '7', userId: 7, anyUser: false })
      expect(await authOf().authenticate(`bearer  ${token}`)).toMatchObject({ userId: 7 })
    },
  )

  it('signed with a secret does too', async () => {
    const secret = 'a-secret-of-at-least-thirty-two-bytes'
    const auth = authOf({ keys: { secret }, algorithms: ['HS256'] })
    const token = new SignJWT(claims()).setProtectedHeader({ alg: 'HS256' })
    expect(await auth.authenticate(bearer(await token.sign(Buffer.from(secret))))).toMatchObject({
      userId: 7,
    })
    await expect(
      auth.authenticate(bearer(await token.sign(Buffer.from(`${secret}!`)))),
    ).rejects.toMatchObject(unauthenticated(/is not valid/))
  })

  it.each<[string, Record<string, unknown>, RegExp]>([
    ['that has expired', { exp: nowS() - 10 }, /has expired/],
    ['that never expires', { exp: undefined }, /has no exp/],
    ['that is not valid yet', { nbf: nowS() + 60 }, /not valid yet/],
    ['of another issuer', { iss: 'https://evil.example' }, /not for this service \(iss\)/],
    ['of an issuer whose name only begins so', { iss: `${issuer}.evil.example` }, /\(iss\)/],
    ['without an issuer', { iss: undefined }, /has no iss/],
    ['for another service', { aud: 'other' }, /not for this service \(aud\)/],
    ['for no service', { aud: undefined }, /has no aud/],
    ['without a user', { sub: undefined }, /has no sub/],
    ['whose user is a name', { sub: 'alice' }, /no user id/],
    ['whose user is 0', { sub: '0' }, /no user id/],
    ['whose user is padded', { sub: '07' }, /no user id/],
    ['whose user is no text', { sub: 7 }, /not valid|no user id|\(sub\)/],
    ['whose user is beyond 2^53−1', { sub: '9007199254740992' }, /no user id/],
  ])('%s is refused', async (_what, changed, sentence) => {
    const key = await newKey('one')
    answer = { keys: [key] }
    await expect(authOf().authenticate(bearer(await sign(key, changed)))).rejects.toMatchObject(
      unauthenticated(sentence),
    )
  })

  it('is forgiven clocks that differ by a few seconds', async () => {
    const key = await newKey('one')
    answer = { keys: [key] }
    const token = await sign(key, { exp: nowS() - 2, nbf: nowS() + 2 })
    expect(await authOf().authenticate(bearer(token))).toMatchObject({ userId: 7 })
  })

  it('may be for several services', async () => {
    const key = await newKey('one')
    answer = { keys: [key] }
    expect(await authOf().authenticate(bearer(await sign(key, { aud: ['x', audience] })))).toMatchObject({
      userId: 7,
    })
  })

  it('without a signature is refused, whatever it calls that', async () => {
    const key = await newKey('one')
    answer = { keys: [key] }
    const unsecured = new UnsecuredJWT(claims()).encode()
    const [, payload = ''] = unsecured.split('.')
    for (const alg of ['none', 'None', 'NONE', 'nOnE']) {
      const header = base64url.encode(JSON.stringify({ alg, kid: 'one' }))
      for (const signature of ['', 'AAAA'])
        await expect(
          authOf().authenticate(bearer(`${header}.${payload}.${signature}`)),
        ).rejects.toMatchObject(unauthenticated(/./))
    }
  })

  it('signed with the public key as if it were a secret is refused', async () => {
    const key = await newKey('one')
    answer = { keys: [key] }
    for (const secret of [await exportSPKI(key.publicKey), JSON.stringify(key.jwk)]) {
      const forged = await new SignJWT(claims())
        .setProtectedHeader({ alg: 'HS256', kid: 'one' })
        .sign(Buffer.from(secret))
      await expect(authOf().authenticate(bearer(forged))).rejects.toMatchObject(unauthenticated(/\(alg\)/))
    }
  })

  it('signed with an algorithm that is not on the list is refused, though the key is right', async () => {
    const key = await newKey('one', 'ES256')
    answer = { keys: [key] }
    await expect(
      authOf({ algorithms: ['RS256'] }).authenticate(bearer(await sign(key, {}, 'ES256'))),
    ).rejects.toMatchObject(unauthenticated(/\(alg\)/))
  })

  it('that brings its own key is refused', async () => {
    const [ours, theirs] = [await newKey('one'), await newKey('one')]
    answer = { keys: [ours] }
    const forged = new SignJWT(claims()).setProtectedHeader({
      alg: 'RS256',
      kid: 'one',
      jwk: theirs.jwk,
      jku: 'https://evil.example/keys',
    })
    await expect(authOf().authenticate(bearer(await forged.sign(theirs.privateKey)))).rejects.toMatchObject(
      unauthenticated(/is not valid/),
    )
  })

  it('with one changed byte in any part is refused', async () => {
    const key = await newKey('one')
    answer = { keys: [key] }
    const auth = authOf()
    const parts = (await sign(key)).split('.')
    for (const at of [0, 1, 2]) {
      const part = parts[at] ?? ''
      const flipped = `${part.slice(0, 8)}${part[8] === 'A' ? 'B' : 'A'}${part.slice(9)}`
      const changed = parts.map((other, i) => (i === at ? flipped : other)).join('.')
      await expect(auth.authenticate(bearer(changed))).rejects.toMatchObject(unauthenticated(/./))
    }
  })

  it.each([
    [undefined, /Send a token/],
    ['', /not of the form/],
    ['Basic dXNlcjpwYXNz', /not of the form/],
    ['Bearer', /not of the form/],
    ['Bearer a.b', /not of the form/],
    ['Bearer a.b.c', /not valid/],
    ['Bearer a.b.c.d.e', /not of the form/],
    [`Bearer ${'a'.repeat(8_000)}.${'b'.repeat(8_000)}.c`, /larger than/],
    ['Bearer \u0000.\ud800.c', /not of the form/],
  ])('that is none (%.20s) is refused without a question to the issuer', async (authorization, sentence) => {
    const auth = authOf()
    await eventually(async () => expect(asked).toBe(1))
    await expect(auth.authenticate(authorization)).rejects.toMatchObject(unauthenticated(sentence))
    expect(asked).toBe(1)
  })

  it('may act for any user only by the scope that is named for it', async () => {
    const key = await newKey('one')
    answer = { keys: [key] }
    const token = await sign(key, { sub: 'importer', scope: 'other likes:any-user' })
    expect(await authOf({ anyUserScope: 'likes:any-user' }).authenticate(bearer(token))).toEqual({
      caller: 'importer',
      anyUser: true,
    })
    for (const anyUserScope of [undefined, 'likes', 'any-user'])
      await expect(authOf({ anyUserScope }).authenticate(bearer(token))).rejects.toMatchObject(
        unauthenticated(/no user id/),
      )
  })
})

describe('the keys of the issuer', () => {
  it('are read once, however many tokens come', async () => {
    const key = await newKey('one')
    answer = { keys: [key] }
    const auth = authOf()
    const token = bearer(await sign(key))
    await Promise.all(Array.from({ length: 50 }, () => auth.authenticate(token)))
    expect(asked).toBe(1)
  })

  it('are read again for a key that is new, so that a rotation is noticed at once', async () => {
    const [old, next] = [await newKey('old'), await newKey('new')]
    answer = { keys: [old] }
    const auth = authOf()
    await auth.authenticate(bearer(await sign(old)))
    answer = { keys: [old, next] }
    await pause(timing.unknownKeyMs)
    expect(await auth.authenticate(bearer(await sign(next)))).toMatchObject({ userId: 7 })
    expect(await auth.authenticate(bearer(await sign(old)))).toMatchObject({ userId: 7 })
    expect(asked).toBe(2)
  })

  it('that were withdrawn count no longer after the next reading', async () => {
    const [old, next] = [await newKey('old'), await newKey('new')]
    answer = { keys: [old] }
    const auth = authOf({}, { refreshMs: 20 })
    const token = bearer(await sign(old))
    await auth.authenticate(token)
    answer = { keys: [next] }
    await eventually(() => expect(auth.authenticate(token)).rejects.toMatchObject(unauthenticated(/key/)))
  })

  it('are not asked for by everybody who makes a key up', async () => {
    const [key, stranger] = [await newKey('one'), await newKey('made-up')]
    answer = { keys: [key] }
    const auth = authOf({}, { unknownKeyMs: 60_000 })
    await auth.authenticate(bearer(await sign(key)))
    const forged = bearer(await sign(stranger))
    for (let i = 0; i < 20; i += 1)
      await expect(auth.authenticate(forged)).rejects.toMatchObject(unauthenticated(/does not have/))
    expect(asked).toBe(1)
  })

  it('are kept while the issuer is away, and what only it could say is no refusal', async () => {
    const [known, unknown] = [await newKey('one'), await newKey('two')]
    answer = { keys: [known] }
    const auth = authOf({}, { refreshMs: 20 })
    await auth.authenticate(bearer(await sign(known)))
    const port = Number(new URL(url).port)
    await shut()
    await eventually(async () =>
      expect(lines.join('')).toContain('the keys of the token issuer cannot be read'),
    )
    expect(await auth.authenticate(bearer(await sign(known)))).toMatchObject({ userId: 7 })
    const token = bearer(await sign(unknown))
    // Not before the last reading is old enough to be doubted.
    await eventually(() => expect(auth.authenticate(token)).rejects.toMatchObject(unavailable))
    answer = { keys: [known, unknown] }
    await listen(port)
    await eventually(async () => expect(await auth.authenticate(token)).toMatchObject({ userId: 7 }))
  })

  it.each<[string, typeof answer]>([
    ['is silent', { silent: true }],
    ['answers 500', { status: 500 }],
    ['sends elsewhere', { status: 302 }],
    ['answers with a page', { body: '<html>' }],
    ['answers with something else', { body: '{"keys":1}' }],
    ['answers without end', { body: `{"keys":[],"x":"${'x'.repeat(300_000)}"}` }],
  ])('cannot be had while it %s: 503 within the second, and not ready', async (_what, wrong) => {
    const key = await newKey('one')
    answer = wrong
    const auth = authOf()
    const token = bearer(await sign(key))
    const begunMs = performance.now()
    await expect(auth.authenticate(token)).rejects.toMatchObject(unavailable)
    expect(performance.now() - begunMs).toBeLessThan(1_000)
    await expect(auth.check?.()).rejects.toMatchObject(unavailable)
    answer = { keys: [key] }
    await eventually(async () => expect(await auth.authenticate(token)).toMatchObject({ userId: 7 }))
    await auth.check?.()
  })

  it('that are older than a day are not believed any more', async () => {
    const key = await newKey('one')
    answer = { keys: [key] }
    const auth = authOf({}, { keptMsMax: 100 })
    const token = bearer(await sign(key))
    await auth.authenticate(token)
    await shut()
    await eventually(() => expect(auth.authenticate(token)).rejects.toMatchObject(unavailable))
  })
})

it('writes no part of a token to the log, whatever is wrong with it', async () => {
  const key = await newKey('one')
  answer = { keys: [] }
  const auth = authOf({}, { refreshMs: 20 })
  const token = await sign(key, { sub: 'canary' })
  for (const wrong of [token, `${token}x`, token.replace('.', '..'), `${token}.${token}`])
    await auth.authenticate(bearer(wrong)).catch((error: unknown) => lines.push(String(error)))
  answer = { status: 500, body: token }
  await eventually(async () => expect(lines.join('')).toContain('cannot be read'))
  for (const part of token.split('.')) expect(lines.join('\n')).not.toContain(part)
})
