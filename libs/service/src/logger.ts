import { destination, pino, stdSerializers, stdTimeFunctions } from 'pino'
import type { DestinationStream, Logger as PinoLogger } from 'pino'

export type Logger = PinoLogger

const secretFields = [
  'authorization',
  'cookie',
  'set-cookie',
  'password',
  'secret',
  'token',
  'HTTP_RATE_REDIS_URL',
  'KAFKA_SASL_PASSWORD',
  'KAFKA_TLS_KEY',
  'DATABASE_URL',
  'CATALOG_DATABASE_URL',
  'CATALOG_DATABASE_DIRECT_URL',
  'METRICS_DATABASE_URL',
  'LIKE_API_DATABASE_URL',
  'RELAY_DATABASE_URL',
  'RELAY_DATABASE_DIRECT_URL',
  'CONSUMER_DATABASE_URL',
  'METRICS_API_DATABASE_URL',
  'METRICS_DATABASE_DIRECT_URL',
]

/** Paths up to two objects deep: pino has no "anywhere" path, and request headers lie at req.headers.*. */
const redactedPaths = secretFields.flatMap((field) => [`["${field}"]`, `*["${field}"]`, `*.*["${field}"]`])

/**
 * `postgres://user:secret@host` → `postgres://user:***@host`, and `?password=secret` → `?password=***`, anywhere in a text.
 * Rather masks too much than too little: a password may hold an unescaped `/` or `@`, so it reaches to the last `@`.
 */
export function maskPasswords(text: string): string {
  return text.replace(/(:\/\/[^\s:@/"]*):[^\s"]*@/g, '$1:***@').replace(/([?&]password=)[^&\s"]*/g, '$1***')
}

/**
 * JSON lines on stdout. `to` exists for tests.
 * Every finished line passes maskPasswords, since drivers put the connection string into messages, stacks, causes and
 * fields alike, and a serializer per field would miss one.
 * Written synchronously: by default pino hands lines to the thread pool, and process.exit then wrote the last ones
 * before the one under way (5 of 150 stops came out of order).
 */
export function buildLogger(
  options: { service: string; level: string },
  to: DestinationStream = destination({ dest: 1, sync: true }),
): Logger {
  return pino(
    {
      level: options.level,
      base: { service: options.service, pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: redactedPaths, censor: '***' },
      serializers: { err: stdSerializers.err },
      hooks: { streamWrite: maskPasswords },
    },
    to,
  )
}
