import { X509Certificate, createPrivateKey } from 'node:crypto'
import { isIP } from 'node:net'
import { Check } from 'typebox/value'

/** The part of JSON Schema an environment variable can be described with. */
export type Property = {
  type?: string
  anyOf?: readonly { const?: unknown }[]
  enum?: readonly unknown[]
  const?: unknown
  default?: string | number | boolean
  description?: string
  minimum?: number
  maximum?: number
  pattern?: string
  format?: string
  /** A setting of one service that wins over this one, which others have too. */
  own?: string
  /** The default is for a developer's machine: with NODE_ENV=production somebody must have chosen. */
  chosenInProduction?: boolean
}

const brokerPattern = /^(?:\[[\da-fA-F:.]+\]|[^\s:,[\]/]+):(\d{1,5})$/

/** The words proxy-addr knows for ranges of its own. */
const addressWords = ['loopback', 'linklocal', 'uniquelocal']

/** An address or a range of them; a range of everything would be no list. */
function isAddress(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const family = isIP(address)
  if (family === 0 || rest.length > 0) return false
  return bits === undefined || (/^[1-9]\d{0,2}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
}

const isOrigin = (text: string): boolean =>
  /^https?:\/\/[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text

function parses(parse: () => unknown): boolean {
  try {
    parse()
    return true
  } catch {
    return false // whatever is wrong with it, it is not shown
  }
}

const everyOf = (accepts: (part: string) => boolean) => (text: string) =>
  text.split(',').every((part) => accepts(part.trim()))

const formats: Record<string, { type: string; shape: string; accepts: (text: string) => boolean }> = {
  addresses: {
    type: 'address list',
    shape: `a comma-separated list of addresses and ranges, such as 10.0.0.7,192.168.0.0/16,::1, or of the words ${addressWords.join(', ')}, or none`,
    accepts: (text) =>
      text === 'none' || everyOf((part) => addressWords.includes(part) || isAddress(part))(text),
  },
  origins: {
    type: 'origin list',
    shape: 'a comma-separated list of origins, such as https://shop.example',
    accepts: everyOf(isOrigin),
  },
  'redis-url': {
    type: 'URL',
    shape: 'a URL of Redis, such as redis://user:password@host:6379/0, or rediss://… for TLS',
    accepts: (text) => /^rediss?:\/\/[^/]/.test(text) && URL.canParse(text),
  },
  words: {
    type: 'list',
    shape: 'a comma-separated list',
    accepts: everyOf((part) => /^[\w.+-]+$/.test(part)),
  },
  certificates: {
    type: 'PEM',
    shape: 'certificates in PEM, or name a file of them in the variable with _FILE behind its name',
    accepts: (text) => {
      const found = text.match(/-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs)
      return found?.every((one) => parses(() => new X509Certificate(one))) ?? false
    },
  },
  'private-key': {
    type: 'PEM',
    shape:
      'a private key in PEM without a passphrase, or name its file in the variable with _FILE behind its name',
    accepts: (text) => parses(() => createPrivateKey(text)),
  },
  'http-url': {
    type: 'URL',
    shape: 'a URL of the shape https://host/path',
    accepts: (text) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol),
  },
  'postgres-url': {
    type: 'PostgreSQL URL',
    shape: 'a URL of the shape postgres://user:password@host:5432/database',
    accepts: (text) => {
      if (!URL.canParse(text)) return false
      const url = new URL(text)
      return (url.protocol === 'postgres:' || url.protocol === 'postgresql:') && url.hostname !== ''
    },
  },
  brokers: {
    type: 'host:port list',
    shape: 'a comma-separated list of host:port, such as localhost:9092',
    accepts: (text) =>
      text.split(',').every((part) => {
        const portText = brokerPattern.exec(part.trim())?.[1]
        return portText !== undefined && Number(portText) >= 1 && Number(portText) <= 65_535
      }),
  },
}

/** The values a union of literals, an enum or a single literal allows; undefined for everything else. */
function choices(property: Property): unknown[] | undefined {
  if (property.enum) return [...property.enum]
  if ('const' in property) return [property.const]
  if (property.anyOf?.every((branch) => 'const' in branch))
    return property.anyOf.map((branch) => branch.const)
  return undefined
}

/**
 * The typed value of an environment variable's text, or undefined when the text is not exactly that: `8080x`, `1e3`,
 * ` 80` and `0080` are no integers, though Number() would take them.
 */
export function parseValue(property: Property, text: string): unknown {
  const value = parseByType(property, text)
  if (value === undefined || !Check(property, value)) return undefined
  const format = property.format === undefined ? undefined : formats[property.format]
  return format && !format.accepts(text) ? undefined : value
}

function parseByType(property: Property, text: string): unknown {
  const allowed = choices(property)
  if (allowed) return allowed.find((choice) => String(choice) === text)
  switch (property.type) {
    case 'integer':
      return /^-?(?:0|[1-9]\d*)$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : undefined
    case 'number':
      return /^-?(?:0|[1-9]\d*)(?:\.\d+)?$/.test(text) ? Number(text) : undefined
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : undefined
    case 'string':
      return text
    default:
      throw new TypeError(`A setting of type ${String(property.type)} cannot be read from the environment.`)
  }
}

/** What to set the variable to, as the rest of the sentence "set it to …". */
export function expectation(property: Property): string {
  const allowed = choices(property)
  if (allowed) return `one of ${allowed.join(', ')}`
  const format = property.format === undefined ? undefined : formats[property.format]
  if (format) return format.shape
  if (property.type === 'boolean') return 'true or false'
  const noun =
    property.type === 'integer' ? 'a whole number' : property.type === 'number' ? 'a number' : 'a text'
  return `${noun}${bounds(property)}${property.pattern === undefined ? '' : ` that matches ${property.pattern}`}`
}

function bounds({ minimum, maximum }: Property): string {
  if (minimum !== undefined && maximum !== undefined) return ` from ${minimum} to ${maximum}`
  if (minimum !== undefined) return ` of at least ${minimum}`
  return maximum === undefined ? '' : ` of at most ${maximum}`
}

/** The word for the type in a settings table. */
export function typeName(property: Property): string {
  const format = property.format === undefined ? undefined : formats[property.format]
  return format?.type ?? choices(property)?.join(' | ') ?? String(property.type)
}
