import type { Static } from 'typebox'
import { readAuth } from './auth-config.ts'
import type { AuthConfig } from './auth-config.ts'
import { trustedIdentity } from './identity.ts'
import type { Authenticate } from './identity.ts'
import type { Logger } from './logger.ts'
import type { KeysTiming } from './token-keys.ts'

export interface Auth {
  authenticate: Authenticate
  /** Rejects while nobody could be told from anybody; absent where that cannot be. */
  check?: () => Promise<void>
  stop: () => Promise<void>
}

/** AUTH_MODE=trusted. */
export const trustedAuth: Auth = {
  authenticate: async () => trustedIdentity,
  stop: async () => undefined,
}

/** Throws CONFIG_INVALID; waits for nothing. */
export async function connectAuth(
  config: Static<typeof AuthConfig>,
  options: { log: Logger; timing?: Partial<KeysTiming> },
): Promise<Auth> {
  const rules = readAuth(config)
  if (rules === 'trusted') return trustedAuth
  // Loaded by whoever needs it: 3 MB, and most services read no token.
  const { tokens } = await import('./token.ts')
  return tokens(rules, options)
}
