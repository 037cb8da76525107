import { BlockList } from 'node:net'
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { durationMs, parseList, readConfig } from './config.ts'

/** What stands between a service that the world may reach and the world. */
export const GuardConfig = Type.Object({
  HTTP_TRUSTED_PROXIES: Type.Optional(
    Type.String({
      format: 'addresses',
      description:
        'Proxies in front, whose X-Forwarded-For is believed; unset: nobody is, and the address is that of the connection',
    }),
  ),
  HTTP_CORS_ORIGINS: Type.Optional(
    Type.String({
      format: 'origins',
      description: 'Web pages of these origins may call the service; unset: none of another origin',
    }),
  ),
  HTTP_RATE_WINDOW_MS: durationMs(10_000, 'What the limits of requests are counted over.'),
  HTTP_RATE_PER_ADDRESS: Type.Integer({
    default: 1_000,
    minimum: 0,
    description:
      'Requests of one address (IPv6: of one /64) in that time, to one replica (HTTP_RATE_REDIS_URL: to all); above it the answer is 429. 0: no limit',
  }),
  HTTP_RATE_EXEMPT: Type.String({
    format: 'addresses',
    default: '127.0.0.0/8,::1',
    description: 'Addresses without a limit of requests; none: no address',
  }),
  HTTP_RATE_REDIS_URL: Type.Optional(
    Type.String({
      format: 'redis-url',
      description:
        'Redis in which the requests of all replicas are counted together; unset: each replica counts its own. While it is away each does',
    }),
  ),
  HTTP_EVENT_LOOP_DELAY_MS: durationMs(
    1_000,
    'When the event loop is later than this on average of a second, requests are answered with 503 until it is not.',
  ),
})

export interface Guard {
  readonly trustedProxies: readonly string[]
  readonly corsOrigins: readonly string[]
  readonly rate: {
    readonly windowMs: number
    readonly perAddress: number
    readonly perCaller: number
    readonly isExempt: (address: string) => boolean
    /** Where all replicas count together. */
    readonly redisUrl: string | undefined
  }
  readonly eventLoopDelayMsMax: number
}

/** `HTTP_RATE_PER_CALLER` is of AuthConfig: who has no identity, has no caller. */
export function readGuard(config: Static<typeof GuardConfig> & { HTTP_RATE_PER_CALLER?: number }): Guard {
  return {
    trustedProxies: addressesOf(config.HTTP_TRUSTED_PROXIES),
    corsOrigins: config.HTTP_CORS_ORIGINS === undefined ? [] : parseList(config.HTTP_CORS_ORIGINS),
    rate: {
      windowMs: config.HTTP_RATE_WINDOW_MS,
      perAddress: config.HTTP_RATE_PER_ADDRESS,
      perCaller: config.HTTP_RATE_PER_CALLER ?? 0,
      isExempt: matcherOf(addressesOf(config.HTTP_RATE_EXEMPT)),
      redisUrl: config.HTTP_RATE_REDIS_URL,
    },
    eventLoopDelayMsMax: config.HTTP_EVENT_LOOP_DELAY_MS,
  }
}

function addressesOf(text: string | undefined): string[] {
  return text === undefined || text === 'none' ? [] : parseList(text)
}

/** As proxy-addr has them, which reads the list of proxies. */
const ranges: Record<string, string[]> = {
  loopback: ['127.0.0.0/8', '::1'],
  linklocal: ['169.254.0.0/16', 'fe80::/10'],
  uniquelocal: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'],
}

function matcherOf(list: readonly string[]): (address: string) => boolean {
  const addresses = new BlockList()
  for (const text of list.flatMap((part) => ranges[part] ?? part)) {
    const [address = '', bits] = text.split('/')
    const family = familyOf(address)
    addresses.addSubnet(address, bits === undefined ? (family === 'ipv4' ? 32 : 128) : Number(bits), family)
  }
  // Parsing an address costs more than looking it up, and the same ones come again and again.
  const known = new Map<string, boolean>()
  return (address) => {
    let answer = known.get(address)
    if (answer === undefined) {
      answer = addresses.check(address, familyOf(address))
      if (known.size >= knownMax) known.clear()
      known.set(address, answer)
    }
    return answer
  }
}
const knownMax = 1_000

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return address.includes(':') ? 'ipv6' : 'ipv4'
}

/** With nothing set. */
export const defaultGuard = readGuard(readConfig(GuardConfig, {}))
