import type {} from 'fastify'
import { Failure } from './failure.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Of every request to a route below /api/ of a service that the world may reach (buildHttp's guard). */
    identity?: Identity | undefined
  }
}

/** Who sent a request, as far as it is proven. */
export interface Identity {
  /** One for each caller, and never another's; absent where nothing is proven (AUTH_MODE=trusted). */
  readonly caller?: string
  /** The user that the caller is; absent where nothing is proven, and for a caller that is no user. */
  readonly userId?: number
  /** May act for every user: always so where nothing is proven, else by a scope of its token. */
  readonly anyUser: boolean
}

/** AUTH_MODE=trusted: what the request says is believed. */
export const trustedIdentity: Identity = Object.freeze({ anyUser: true })

/** Reads the Authorization header. Rejects with UNAUTHENTICATED, or with IDENTITY_UNAVAILABLE where nobody can say. */
export type Authenticate = (authorization: string | undefined) => Promise<Identity>

/**
 * The user that a request acts for: the one it names (`claimed`: the userId of its body or path), or, where it names none,
 * the one that it is proven to come from. What is kept per user (likes, Idempotency-Key) is kept under this id.
 * Throws FORBIDDEN for another user's, and BODY_INVALID where there is none.
 */
export function userOf(request: { identity?: Identity | undefined }, claimed: number | undefined): number {
  const { identity } = request
  if (!identity) throw new TypeError('This route has no identity: only those below /api/ do.')
  const userId = claimed ?? identity.userId
  if (userId === undefined) {
    const errors = [{ field: 'userId', message: 'is required' }]
    throw new Failure('BODY_INVALID', 'userId is required.', { details: { errors } })
  }
  if (identity.anyUser || userId === identity.userId) return userId
  const errors = [{ field: 'userId', message: 'must be the user of the token' }]
  throw new Failure('FORBIDDEN', 'userId must be the user of the token.', { details: { errors } })
}
