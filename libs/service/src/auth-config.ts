import { Type } from 'typebox'
import type { Static } from 'typebox'
import { parseList } from './config.ts'
import { Failure } from './failure.ts'

export const AuthConfig = Type.Object({
  AUTH_MODE: Type.Union([Type.Literal('jwt'), Type.Literal('trusted')], {
    default: 'trusted',
    chosenInProduction: true,
    description:
      'How callers prove who they are: by a signed token, or not at all, since something in front has checked the userId. With NODE_ENV=production it must be set',
  }),
  AUTH_ISSUER: Type.Optional(Type.String({ description: 'With jwt: iss of the tokens' })),
  AUTH_AUDIENCE: Type.Optional(
    Type.String({ description: 'With jwt: aud of the tokens that are meant for this service' }),
  ),
  AUTH_JWKS_URL: Type.Optional(
    Type.String({ format: 'http-url', description: "With jwt: where the issuer's public keys are" }),
  ),
  AUTH_SECRET: Type.Optional(
    Type.String({
      description: 'With jwt, instead of AUTH_JWKS_URL: the secret that tokens are signed with',
    }),
  ),
  AUTH_ALGORITHMS: Type.Optional(
    Type.String({
      format: 'words',
      description: `With jwt: signatures that count; unset: RS256,PS256,ES256,EdDSA by keys, HS256 by a secret`,
    }),
  ),
  AUTH_ANY_USER_SCOPE: Type.Optional(
    Type.String({
      pattern: '^[!#-\\[\\]-~]+$',
      description: 'With jwt: a scope whose tokens may act for any user, for importers; unset: none may',
    }),
  ),
  HTTP_RATE_PER_CALLER: Type.Integer({
    default: 200,
    minimum: 0,
    description:
      'With jwt: requests of one sub in HTTP_RATE_WINDOW_MS, from wherever, to one replica (HTTP_RATE_REDIS_URL: to all); above it the answer is 429. 0: no limit',
  }),
})

/** What a token must be. */
export interface TokenRules {
  issuer: string
  audience: string
  algorithms: string[]
  keys: { jwksUrl: string } | { secret: string }
  anyUserScope: string | undefined
}

const byKeys = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
]
const byKeysUnlessTold = ['RS256', 'PS256', 'ES256', 'EdDSA']
/** With the bytes that a secret must have at least: as many as the hash gives (RFC 7518, 3.2). */
const bySecret: Record<string, number> = { HS256: 32, HS384: 48, HS512: 64 }
const bySecretUnlessTold = ['HS256']

/** What the settings say together; throws CONFIG_INVALID with every contradiction. */
export function readAuth(config: Static<typeof AuthConfig>): 'trusted' | TokenRules {
  const problems = config.AUTH_MODE === 'jwt' ? faultsOfJwt(config) : faultsOfTrusted(config)
  if (problems.length > 0) {
    const lines = problems.map((sentence) => `  ${sentence}`).join('\n')
    throw new Failure('CONFIG_INVALID', `The configuration is invalid.\n${lines}`, { details: { problems } })
  }
  if (config.AUTH_MODE === 'trusted') return 'trusted'
  const { AUTH_ISSUER: issuer = '', AUTH_AUDIENCE: audience = '', AUTH_SECRET: secret = '' } = config
  const jwksUrl = config.AUTH_JWKS_URL
  return {
    issuer,
    audience,
    algorithms: algorithmsOf(config),
    keys: jwksUrl === undefined ? { secret } : { jwksUrl },
    anyUserScope: config.AUTH_ANY_USER_SCOPE,
  }
}

function algorithmsOf({ AUTH_ALGORITHMS, AUTH_SECRET }: Static<typeof AuthConfig>): string[] {
  if (AUTH_ALGORITHMS !== undefined) return parseList(AUTH_ALGORITHMS)
  return AUTH_SECRET === undefined ? byKeysUnlessTold : bySecretUnlessTold
}

/** Somebody who set them expects tokens to be read. */
function faultsOfTrusted(config: Static<typeof AuthConfig>): string[] {
  return Object.keys(config)
    .filter((name) => name.startsWith('AUTH_') && name !== 'AUTH_MODE')
    .map((name) => `${name} is set, but no token is read: set AUTH_MODE to jwt, or leave ${name} out.`)
}

function faultsOfJwt(config: Static<typeof AuthConfig>): string[] {
  const { AUTH_ISSUER, AUTH_AUDIENCE, AUTH_JWKS_URL, AUTH_SECRET } = config
  const faults: string[] = []
  if (AUTH_ISSUER === undefined) faults.push('AUTH_ISSUER is not set: set it to the iss of the tokens.')
  if (AUTH_AUDIENCE === undefined) faults.push('AUTH_AUDIENCE is not set: set it to the aud of the tokens.')
  if (AUTH_JWKS_URL === undefined && AUTH_SECRET === undefined)
    faults.push('AUTH_JWKS_URL is not set: set it to the keys of the issuer, or AUTH_SECRET to its secret.')
  // One verifies with what the other publishes: a token signed with the public key as the secret would pass.
  if (AUTH_JWKS_URL !== undefined && AUTH_SECRET !== undefined)
    faults.push('AUTH_JWKS_URL and AUTH_SECRET are both set: keep one of them.')
  const known = AUTH_SECRET === undefined ? byKeys : Object.keys(bySecret)
  for (const algorithm of algorithmsOf(config)) {
    if (!known.includes(algorithm))
      faults.push(
        `AUTH_ALGORITHMS has ${algorithm}: with ${nameOfKeys(config)} it may hold ${known.join(', ')}.`,
      )
  }
  const bytesMin = Math.max(...algorithmsOf(config).map((algorithm) => bySecret[algorithm] ?? 0))
  if (AUTH_SECRET !== undefined && Buffer.byteLength(AUTH_SECRET) < bytesMin)
    faults.push(`AUTH_SECRET is too short to be safe: set it to at least ${bytesMin} random bytes.`)
  return faults
}

function nameOfKeys({ AUTH_SECRET }: Static<typeof AuthConfig>): string {
  return AUTH_SECRET === undefined ? 'AUTH_JWKS_URL' : 'AUTH_SECRET'
}
