import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { Type } from 'typebox'
import type { TObject } from 'typebox'
import {
  brokers,
  describeConfig,
  durationMs,
  loadDotenv,
  LogLevel,
  parseBrokers,
  port,
  postgresUrl,
  readConfig,
  sourceOf,
} from './config.ts'
import { Failure } from './failure.ts'

const schema = Type.Object({
  LIKE_API_PORT: port(8080, 'Port of the API'),
  CATALOG_DATABASE_URL: postgresUrl('Where likes are stored'),
  KAFKA_BROKERS: brokers('localhost:9092'),
  POLL_INTERVAL_MS: durationMs(250, 'Longest wait between two looks'),
  SAMPLING: Type.Number({ minimum: 0, maximum: 1, default: 0.5 }),
  TRACING: Type.Boolean({ default: false }),
  LOG_LEVEL: LogLevel,
  REGION: Type.Optional(Type.String({ pattern: '^[a-z]+$' })),
})
const url = 'postgres://me:c4n4ry@localhost:5432/likewise'

function failureOf(env: NodeJS.ProcessEnv, of: TObject = schema): Failure {
  try {
    readConfig(of, env)
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
  throw new Error('The configuration was accepted.')
}

describe('readConfig', () => {
  it('fills in defaults and gives values of the type the schema says', () => {
    const config = readConfig(schema, {
      CATALOG_DATABASE_URL: url,
      LIKE_API_PORT: '0',
      TRACING: 'true',
      SAMPLING: '0.25',
    })
    const typed: { LIKE_API_PORT: number; TRACING: boolean; LOG_LEVEL: string; REGION?: string } = config
    expect(typed).toEqual({
      LIKE_API_PORT: 0,
      CATALOG_DATABASE_URL: url,
      KAFKA_BROKERS: 'localhost:9092',
      POLL_INTERVAL_MS: 250,
      SAMPLING: 0.25,
      TRACING: true,
      LOG_LEVEL: 'info',
    })
  })

  it('takes an empty variable for one that is not set', () => {
    expect(readConfig(schema, { CATALOG_DATABASE_URL: url, LIKE_API_PORT: '', REGION: '' })).toMatchObject({
      LIKE_API_PORT: 8080,
    })
    expect(failureOf({ CATALOG_DATABASE_URL: '' }).message).toContain(
      'CATALOG_DATABASE_URL (Where likes are stored) is not set',
    )
  })

  it('cannot be changed once it is read', () => {
    const config = readConfig(schema, { CATALOG_DATABASE_URL: url })
    expect(() => Object.assign(config, { LIKE_API_PORT: 1 })).toThrow(TypeError)
  })

  it.each([
    '8080x',
    '1e3',
    ' 80',
    '80 ',
    '0x50',
    '+80',
    '080',
    '80.0',
    '-1',
    '65536',
    'NaN',
    '9007199254740993',
  ])('refuses %j for a port', (text) => {
    expect(failureOf({ CATALOG_DATABASE_URL: url, LIKE_API_PORT: text }).message).toBe(
      'The configuration is invalid.\n' +
        `  LIKE_API_PORT (Port of the API) is ${JSON.stringify(text)}: set it to a whole number from 0 to 65535, or leave it out for 8080.`,
    )
  })

  it.each([
    ['TRACING', 'yes', 'true or false'],
    ['TRACING', 'TRUE', 'true or false'],
    ['SAMPLING', '.5', 'a number from 0 to 1'],
    ['SAMPLING', '1.5', 'a number from 0 to 1'],
    ['LOG_LEVEL', 'loud', 'one of fatal, error, warn, info, debug, trace, silent'],
    ['REGION', 'EU1', 'a text that matches ^[a-z]+$'],
    ['POLL_INTERVAL_MS', '0', 'a whole number from 1 to 2147483647'],
    ['POLL_INTERVAL_MS', '2147483648', 'a whole number from 1 to 2147483647'],
    ['KAFKA_BROKERS', 'localhost', 'a comma-separated list of host:port'],
    ['KAFKA_BROKERS', 'a:9092,', 'a comma-separated list of host:port'],
    ['KAFKA_BROKERS', 'a:0', 'a comma-separated list of host:port'],
    ['KAFKA_BROKERS', 'kafka://a:9092', 'a comma-separated list of host:port'],
  ])('refuses %s=%s and says what it should be', (name, text, expected) => {
    const { message } = failureOf({ CATALOG_DATABASE_URL: url, [name]: text })
    expect(message).toContain(`is "${text}": set it to ${expected}`)
    expect(message.split('\n')).toHaveLength(2)
  })

  it.each([
    'me:c4n4ry@localhost/db',
    'mysql://me:c4n4ry@localhost/db',
    'postgres:///c4n4ry',
    'postgres://me:c4n4ry@h:99999/db',
  ])('says what a connection URL looks like without showing the wrong one (%s)', (text) => {
    const { message } = failureOf({ CATALOG_DATABASE_URL: text })
    expect(message).toContain(
      'has a wrong value (not shown): set it to a URL of the shape postgres://user:password@host:5432/database',
    )
    expect(message).not.toContain('c4n4ry')
  })

  it.each(['API_TOKEN', 'SASL_PASSWORD', 'SHARED_SECRET', 'SOME_URL'])(
    'never shows the value or default of %s',
    (name) => {
      const secret = Type.Object({ [name]: Type.String({ pattern: '^x', default: 'xc4n4ry' }) })
      const failure = failureOf({ [name]: 'c4n4ry' }, secret)
      expect(failure.message).toContain(name)
      expect(failure.message + JSON.stringify(failure.details)).not.toContain('c4n4ry')
    },
  )

  describe('with a file, as secrets are mounted', () => {
    let dir: string
    beforeEach(() => {
      dir = mkdtempSync(join(tmpdir(), 'likewise-secret-'))
    })
    afterEach(() => rmSync(dir, { recursive: true }))
    const secret = (text: string): string => {
      writeFileSync(join(dir, 'secret'), text)
      return join(dir, 'secret')
    }

    it('reads the value from the file, without the line end', () => {
      const config = readConfig(schema, { CATALOG_DATABASE_URL_FILE: secret(`${url}\n`), REGION_FILE: '' })
      expect(config).toMatchObject({ CATALOG_DATABASE_URL: url })
    })

    it('says so when the file cannot be read, is empty, or the variable is set as well', () => {
      const missing = failureOf({ CATALOG_DATABASE_URL_FILE: join(dir, 'none') })
      expect(missing.message).toMatch(
        /CATALOG_DATABASE_URL_FILE names a file that cannot be read \(.*none: ENOENT\)/,
      )
      expect(failureOf({ CATALOG_DATABASE_URL_FILE: secret('\n') }).message).toContain(
        'CATALOG_DATABASE_URL (Where likes are stored) is not set',
      )
      const both = failureOf({ CATALOG_DATABASE_URL: url, CATALOG_DATABASE_URL_FILE: secret(url) })
      expect(both.message).toMatch(/CATALOG_DATABASE_URL_FILE and CATALOG_DATABASE_URL are both set/)
    })

    it('shows nothing of what is in it', () => {
      const failure = failureOf({ CATALOG_DATABASE_URL_FILE: secret('mysql://me:c4n4ry@host/x') })
      expect(failure.message + JSON.stringify(failure.details)).not.toContain('c4n4ry')
    })
  })

  it('refuses the password of docker-compose.yml in production, and only there', () => {
    const known = { CATALOG_DATABASE_URL: 'postgres://likewise:likewise@postgres:5432/likewise' }
    expect(readConfig(schema, { ...known, NODE_ENV: 'development' })).toMatchObject(known)
    expect(failureOf({ ...known, NODE_ENV: 'production' }).message).toMatch(
      /CATALOG_DATABASE_URL \(.*\) has the password of docker-compose.yml/,
    )
    expect(readConfig(schema, { CATALOG_DATABASE_URL: url, NODE_ENV: 'production' })).toBeDefined()
  })

  it('takes the own variable of a service before the one that several share, and names the one it took', () => {
    const shared = Type.Object({ DB_URL: postgresUrl('Database', 'MINE_DB_URL') })
    const [all, mine] = ['postgres://all@host/x', 'postgres://mine@host/x']
    expect(readConfig(shared, { DB_URL: all, MINE_DB_URL: mine })).toEqual({ DB_URL: mine })
    expect(readConfig(shared, { DB_URL: all, MINE_DB_URL: '' })).toEqual({ DB_URL: all })
    expect(sourceOf(shared, 'DB_URL', { MINE_DB_URL: mine })).toBe('MINE_DB_URL')
    expect(sourceOf(shared, 'DB_URL', { MINE_DB_URL_FILE: '/x' })).toBe('MINE_DB_URL')
    expect(sourceOf(shared, 'DB_URL', { DB_URL: all })).toBe('DB_URL')
    expect(() => readConfig(shared, { DB_URL: all, MINE_DB_URL: 'mysql://x' })).toThrow(
      / MINE_DB_URL .* wrong value/,
    )
    expect(() => readConfig(shared, {})).toThrow(/ DB_URL \(Database\) is not set/)
    expect(describeConfig(shared).map((row) => [row.name, row.default])).toEqual([
      ['DB_URL', undefined],
      ['MINE_DB_URL', 'DB_URL'],
    ])
  })

  it('refuses half of TLS towards PostgreSQL, and certificates that are not there', () => {
    const by = (query: string) => failureOf({ CATALOG_DATABASE_URL: `${url}?${query}` }).message
    for (const mode of ['require', 'prefer', 'allow', 'verify-ca', 'no-verify'])
      expect(by(`sslmode=${mode}`)).toMatch(
        new RegExp(
          `CATALOG_DATABASE_URL .* has sslmode=${mode}, which does not say who must answer: sslmode=verify-full does`,
        ),
      )
    expect(by('sslmode=verify-full&sslrootcert=/nowhere/ca.crt')).toMatch(
      /names a file that cannot be read \(sslrootcert=\/nowhere\/ca.crt: ENOENT\)/,
    )
    expect(by(`sslrootcert=${import.meta.filename}`)).toMatch(
      /names certificates, but has no sslmode=verify-full/,
    )
    for (const query of ['sslmode=disable', `sslmode=verify-full&sslrootcert=${import.meta.filename}`])
      expect(readConfig(schema, { CATALOG_DATABASE_URL: `${url}?${query}` })).toBeDefined()
  })

  it('names all problems at once', () => {
    const failure = failureOf({ LIKE_API_PORT: 'x', TRACING: 'x', KAFKA_BROKERS: 'x' })
    expect(failure.code).toBe('CONFIG_INVALID')
    for (const name of ['LIKE_API_PORT', 'CATALOG_DATABASE_URL', 'TRACING', 'KAFKA_BROKERS']) {
      expect(failure.message.split('\n').filter((line) => line.startsWith(`  ${name} `))).toHaveLength(1)
    }
  })

  it('finds a default that breaks its own schema', () => {
    expect(() => readConfig(Type.Object({ A_PORT: port(70_000, 'Port') }), {})).toThrow(
      'The default of A_PORT',
    )
  })
})

describe('parseBrokers', () => {
  it('gives the brokers one by one', () => {
    expect(parseBrokers('a:9092, [::1]:9093')).toEqual(['a:9092', '[::1]:9093'])
    expect(readConfig(Type.Object({ B: brokers() }), { B: 'a:9092, [::1]:9093' })).toEqual({
      B: 'a:9092, [::1]:9093',
    })
  })
})

describe('describeConfig', () => {
  it('gives the rows of the settings table', () => {
    const rows = describeConfig(schema)
    expect(rows.map(({ name }) => name)).toEqual(Object.keys(schema.properties))
    expect(rows[0]).toEqual({
      name: 'LIKE_API_PORT',
      type: 'integer',
      default: '8080',
      description: 'Port of the API',
    })
    expect(rows[1]).toMatchObject({ type: 'PostgreSQL URL', default: undefined })
    expect(rows[6]).toMatchObject({
      type: 'fatal | error | warn | info | debug | trace | silent',
      default: 'info',
    })
  })
})

describe('loadDotenv', () => {
  it('takes from .env what the environment lacks, and nothing else, even when DOTENV_OVERRIDE says so', () => {
    const dir = mkdtempSync(join(tmpdir(), 'likewise-dotenv-'))
    try {
      writeFileSync(join(dir, '.env'), 'A=from file\nB="from file" # why\nC=from file\n')
      const env: NodeJS.ProcessEnv = { A: 'from shell', C: '', DOTENV_OVERRIDE: 'true' }
      loadDotenv(dir, env)
      expect(env).toEqual({ A: 'from shell', B: 'from file', C: '', DOTENV_OVERRIDE: 'true' })
    } finally {
      rmSync(dir, { recursive: true })
    }
  })

  it('does without a .env, and says so when there is one it cannot read', () => {
    const dir = mkdtempSync(join(tmpdir(), 'likewise-dotenv-'))
    try {
      loadDotenv(join(dir, 'nowhere'), {})
      expect(() => {
        loadDotenv(dir, {})
      }).not.toThrow()
      writeFileSync(join(dir, 'file'), '')
      expect(() => {
        loadDotenv(join(dir, 'file'), {})
      }).toThrow('cannot be read')
    } finally {
      rmSync(dir, { recursive: true })
    }
  })
})
