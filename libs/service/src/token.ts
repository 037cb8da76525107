import { createSecretKey } from 'node:crypto'
import { errors, jwtVerify } from 'jose'
import type { JWTPayload, JWTVerifyOptions } from 'jose'
import type { Auth } from './auth.ts'
import type { TokenRules } from './auth-config.ts'
import { Failure } from './failure.ts'
import type { Authenticate, Identity } from './identity.ts'
import type { Logger } from './logger.ts'
import { remoteKeys } from './token-keys.ts'
import type { KeysTiming, TokenKeys } from './token-keys.ts'

/** Clocks of two machines differ. */
const clockToleranceS = 5
/** nginx takes no header above 8 KB either; whoever sends more makes us parse and hash it before we can refuse it. */
const tokenCharsMax = 8_192

const bearer = /^Bearer +([\w-]+\.[\w-]+\.[\w-]*)$/i
const id = /^[1-9]\d{0,15}$/

/** Identity by a signed token (RFC 7519) in the Authorization header (RFC 6750). No part of a token is ever logged. */
export function tokens(
  rules: TokenRules,
  { log, timing }: { log: Logger; timing?: Partial<KeysTiming> | undefined },
): Auth {
  const keys: TokenKeys =
    'jwksUrl' in rules.keys ? remoteKeys(rules.keys.jwksUrl, { log, timing }) : secretKey(rules.keys)
  const options: JWTVerifyOptions = {
    issuer: rules.issuer,
    audience: rules.audience,
    algorithms: rules.algorithms,
    clockTolerance: clockToleranceS,
    requiredClaims: ['exp', 'sub'],
  }
  const authenticate: Authenticate = async (authorization) => {
    if (authorization === undefined) throw refused('Send a token: Authorization: Bearer …')
    if (authorization.length > tokenCharsMax)
      throw refused(`The token is larger than ${tokenCharsMax} characters.`)
    const token = bearer.exec(authorization)?.[1]
    if (token === undefined) throw refused('The Authorization header is not of the form: Bearer <token>')
    try {
      const { payload } = await jwtVerify(token, keys.keyOf, options)
      return identityOf(payload, rules.anyUserScope)
    } catch (error) {
      throw error instanceof Failure ? error : refused(sentenceOf(error))
    }
  }
  return { authenticate, ...(keys.check ? { check: keys.check } : {}), stop: keys.stop }
}

function secretKey({ secret }: { secret: string }): TokenKeys {
  const key = createSecretKey(Buffer.from(secret))
  return { keyOf: async () => key, stop: async () => undefined }
}

function identityOf({ sub = '', scope }: JWTPayload, anyUserScope: string | undefined): Identity {
  const scopes = typeof scope === 'string' ? scope.split(' ') : []
  const anyUser = anyUserScope !== undefined && scopes.includes(anyUserScope)
  const isUser = typeof sub === 'string' && id.test(sub) && Number.isSafeInteger(Number(sub))
  if (!isUser && !anyUser) throw refused('sub of the token is no user id: an integer from 1 to 2^53−1.')
  return { caller: sub, ...(isUser ? { userId: Number(sub) } : {}), anyUser }
}

function refused(sentence: string): Failure {
  return new Failure('UNAUTHENTICATED', sentence)
}

/** Sentences of our own: the library's may quote what it was given. */
function sentenceOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'The token has expired.'
  if (error instanceof errors.JWTClaimValidationFailed) {
    const { claim, reason } = error
    if (reason === 'missing') return `The token has no ${claim}.`
    return claim === 'nbf'
      ? 'The token is not valid yet (nbf).'
      : `The token is not for this service (${claim}).`
  }
  if (error instanceof errors.JOSEAlgNotAllowed)
    return 'The token is signed in a way that is not taken here (alg).'
  if (error instanceof errors.JWKSNoMatchingKey)
    return 'The token is signed with a key that its issuer does not have.'
  if (error instanceof errors.JWKSMultipleMatchingKeys)
    return 'The token does not say which key it is signed with (kid).'
  return 'The token is not valid.'
}
