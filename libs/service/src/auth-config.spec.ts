import { describe, expect, it } from '@jest/globals'
import { AuthConfig, readAuth } from './auth-config.ts'
import { readConfig } from './config.ts'
import { Failure } from './failure.ts'

const read = (env: Record<string, string>) => readAuth(readConfig(AuthConfig, env))

function faultsOf(env: Record<string, string>): string {
  try {
    read(env)
  } catch (error) {
    if (error instanceof Failure && error.code === 'CONFIG_INVALID') return error.message
    throw error
  }
  return 'none'
}

const jwt = { AUTH_MODE: 'jwt', AUTH_ISSUER: 'https://id.example', AUTH_AUDIENCE: 'likewise' }
const AUTH_JWKS_URL = 'https://id.example/keys'
const secretOf = (bytes: number) => 'x'.repeat(bytes)

describe('AUTH_MODE', () => {
  it('is trusted on a developer’s machine, where nobody chose', () => {
    expect(read({})).toBe('trusted')
  })

  it('must be chosen in production', () => {
    expect(faultsOf({ NODE_ENV: 'production' })).toMatch(
      /AUTH_MODE .* is not set, and production has no default for it: set it to one of jwt, trusted\.$/,
    )
    expect(read({ NODE_ENV: 'production', AUTH_MODE: 'trusted' })).toBe('trusted')
  })

  it('is refused where it is neither', () => {
    expect(faultsOf({ AUTH_MODE: 'none' })).toMatch(/AUTH_MODE .* is "none": set it to one of jwt, trusted/)
  })

  it('trusted is refused beside settings of tokens, since whoever set them expects them to count', () => {
    expect(faultsOf({ AUTH_MODE: 'trusted', AUTH_JWKS_URL, AUTH_ISSUER: 'x' })).toMatch(
      /AUTH_ISSUER is set, but no token is read: .*\n {2}AUTH_JWKS_URL is set, but no token is read/,
    )
    expect(faultsOf({ AUTH_JWKS_URL })).toMatch(/set AUTH_MODE to jwt/)
  })
})

describe('AUTH_MODE=jwt', () => {
  it('takes the keys of the issuer, and signatures by keys alone', () => {
    expect(read({ ...jwt, AUTH_JWKS_URL })).toEqual({
      issuer: 'https://id.example',
      audience: 'likewise',
      algorithms: ['RS256', 'PS256', 'ES256', 'EdDSA'],
      keys: { jwksUrl: AUTH_JWKS_URL },
      anyUserScope: undefined,
    })
  })

  it('takes a secret, and signatures by a secret alone', () => {
    expect(read({ ...jwt, AUTH_SECRET: secretOf(32) })).toMatchObject({
      algorithms: ['HS256'],
      keys: { secret: secretOf(32) },
    })
  })

  it('names all that is missing at once', () => {
    const faults = faultsOf({ AUTH_MODE: 'jwt' })
    for (const name of ['AUTH_ISSUER', 'AUTH_AUDIENCE', 'AUTH_JWKS_URL'])
      expect(faults).toMatch(new RegExp(`^ {2}${name} is not set`, 'm'))
  })

  it.each([
    ['none', { AUTH_JWKS_URL }],
    ['HS256', { AUTH_JWKS_URL }],
    ['RS256', { AUTH_SECRET: secretOf(64) }],
    ['none', { AUTH_SECRET: secretOf(64) }],
  ])('refuses %s where it would let one kind of key be taken for the other (%o)', (AUTH_ALGORITHMS, keys) => {
    expect(faultsOf({ ...jwt, ...keys, AUTH_ALGORITHMS })).toMatch(`AUTH_ALGORITHMS has ${AUTH_ALGORITHMS}`)
  })

  it('refuses keys and a secret together', () => {
    expect(faultsOf({ ...jwt, AUTH_JWKS_URL, AUTH_SECRET: secretOf(64) })).toMatch(/both set: keep one/)
  })

  it('refuses a secret that is shorter than its hash, and does not show it', () => {
    const AUTH_SECRET = secretOf(40)
    expect(read({ ...jwt, AUTH_SECRET })).toBeDefined()
    const faults = faultsOf({ ...jwt, AUTH_SECRET, AUTH_ALGORITHMS: 'HS256,HS512' })
    expect(faults).toMatch(/AUTH_SECRET is too short to be safe: set it to at least 64 random bytes/)
    expect(faults).not.toContain(AUTH_SECRET)
  })

  it('refuses keys over plain http in production, but for those of this machine', () => {
    const production = { ...jwt, NODE_ENV: 'production' }
    expect(faultsOf({ ...production, AUTH_JWKS_URL: 'http://id.example/keys' })).toMatch(/is not encrypted/)
    expect(faultsOf({ ...production, AUTH_JWKS_URL: 'http://127.0.0.1.example/keys' })).toMatch(
      /is not encrypted/,
    )
    for (const host of ['localhost', '127.0.0.1:8080', '[::1]'])
      expect(faultsOf({ ...production, AUTH_JWKS_URL: `http://${host}/keys` })).toBe('none')
  })
})
