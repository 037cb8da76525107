import { createRemoteJWKSet, customFetch, errors } from 'jose'
import type { FetchImplementation, JWTVerifyGetKey } from 'jose'
import { Failure } from './failure.ts'
import type { Logger } from './logger.ts'
import { repeat } from './repeat.ts'
import { within } from './within.ts'

export interface TokenKeys {
  keyOf: JWTVerifyGetKey
  /** Rejects while there is no key to judge by. */
  check?: () => Promise<void>
  stop: () => Promise<void>
}

export type KeysTiming = typeof defaultTiming

const defaultTiming = {
  /** How often the keys are read again: a key that was withdrawn counts for so long. */
  refreshMs: 300_000,
  /** After a try that failed: until the next one, whoever asks. */
  retryMs: 1_000,
  /** A key that nobody knows is looked for at the issuer's at most so often, else anybody could make us ask. */
  unknownKeyMs: 5_000,
  /** For the issuer to answer. */
  fetchMsMax: 2_000,
  /** A request waits for so long: below the second in which a service says that it cannot (I7). */
  waitMsMax: 800,
  /** An outage of the issuer is waited out with the keys that were read last, for a day. */
  keptMsMax: 86_400_000,
}

const keysBytesMax = 256 * 1024

/**
 * The issuer's public keys (RFC 7517), read in the background, so that neither a start nor a request depends on the issuer
 * once they are here. A key that is not among them is asked for: that is how a rotation is noticed at once.
 */
export function remoteKeys(
  url: string,
  { log, timing }: { log: Logger; timing?: Partial<KeysTiming> | undefined },
): TokenKeys {
  const { refreshMs, retryMs, unknownKeyMs, fetchMsMax, waitMsMax, keptMsMax } = {
    ...defaultTiming,
    ...timing,
  }
  let failedAtMs = -Infinity
  const fetchKeys: FetchImplementation = async (...asked) => {
    if (performance.now() - failedAtMs < retryMs) throw new Error('the last try failed a moment ago')
    try {
      return await fetchBounded(...asked)
    } catch (error) {
      failedAtMs = performance.now()
      throw error
    }
  }
  const keys = createRemoteJWKSet(new URL(url), {
    cacheMaxAge: keptMsMax,
    cooldownDuration: unknownKeyMs,
    timeoutDuration: fetchMsMax,
    [customFetch]: fetchKeys,
  })
  const reload = () => keys.reload().catch((cause: unknown) => Promise.reject(unavailable(cause)))
  const stop = repeat(reload, {
    pauseMs: () => (performance.now() - failedAtMs < retryMs ? retryMs : refreshMs),
    log,
    failed: 'the keys of the token issuer cannot be read',
  })
  return {
    keyOf: async (header, token) => {
      try {
        return await within(waitMsMax, keys(header, token), () => unavailable(undefined))
      } catch (error) {
        throw isOfToken(error) ? error : unavailable(error)
      }
    },
    check: async () => {
      if (!keys.fresh) await within(waitMsMax, reload(), () => unavailable(undefined))
    },
    stop,
  }
}

function isOfToken(error: unknown): boolean {
  return (
    error instanceof errors.JWKSNoMatchingKey ||
    error instanceof errors.JWKSMultipleMatchingKeys ||
    error instanceof errors.JOSENotSupported
  )
}

function unavailable(cause: unknown): Failure {
  if (cause instanceof Failure) return cause
  const why = cause instanceof Error ? `: ${cause.message}` : ''
  return new Failure(
    'IDENTITY_UNAVAILABLE',
    `The keys of the token issuer (AUTH_JWKS_URL) cannot be read${why}.`,
    {
      cause,
    },
  )
}

const fetchBounded: FetchImplementation = async (url, init) => {
  const response = await fetch(url, init)
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.byteLength
    if (bytes > keysBytesMax) throw new Error(`the answer is larger than ${keysBytesMax} bytes`)
    chunks.push(chunk)
  }
  if (response.status !== 200) throw new Error(`the answer is ${response.status}`)
  const body = Buffer.concat(chunks)
  // Else jose refuses it, and it would not count as a try that failed.
  const set = JSON.parse(body.toString()) as { keys?: unknown } | null
  if (!Array.isArray(set?.keys)) throw new Error('the answer is no key set')
  return new Response(body, { status: 200 })
}
