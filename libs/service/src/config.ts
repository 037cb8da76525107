import { accessSync, constants, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'dotenv'
import { Type } from 'typebox'
import type { Static, TInteger, TObject, TString } from 'typebox'
import { expectation, parseValue, typeName } from './config-value.ts'
import type { Property } from './config-value.ts'
import { Failure } from './failure.ts'

/** The longest time setTimeout can wait (24.8 days); beyond it, it fires at once. */
const timerMsMax = 2_147_483_647

/** The one that docker-compose.yml sets where nobody chose one. */
const knownPassword = 'likewise'

const secretName = /URL|PASSWORD|SECRET|TOKEN|TLS_/

export const LogLevel = Type.Union(
  [
    Type.Literal('fatal'),
    Type.Literal('error'),
    Type.Literal('warn'),
    Type.Literal('info'),
    Type.Literal('debug'),
    Type.Literal('trace'),
    Type.Literal('silent'),
  ],
  { default: 'info', description: 'Least severe log line that is written' },
)

/** `own`: a variable of this service alone that wins over the one which several have, so that each can have its own user. */
export function postgresUrl(description: string, own?: string): TString {
  return Type.String({ format: 'postgres-url', description, ...(own === undefined ? {} : { own }) })
}

/** 0 lets the operating system choose a free port. */
export function port(fallback: number, description: string): TInteger {
  return Type.Integer({ minimum: 0, maximum: 65_535, default: fallback, description })
}

/** Stays text in the config, so that it can be shown as it was written; see parseBrokers. */
export function brokers(fallback?: string): TString {
  return Type.String({
    format: 'brokers',
    description: 'Kafka brokers to start from',
    ...(fallback === undefined ? {} : { default: fallback }),
  })
}

export function parseBrokers(text: string): string[] {
  return parseList(text)
}

/** The parts of a comma-separated setting. */
export function parseList(text: string): string[] {
  return text.split(',').map((part) => part.trim())
}

/** At least 1: a zero would mean "never" to one reader and "at once" to the next. */
export function durationMs(fallback: number, description: string): TInteger {
  return Type.Integer({ minimum: 1, maximum: timerMsMax, default: fallback, description })
}

/**
 * Reads the variables named by the schema's keys, or the files that `<name>_FILE` names (secrets are mounted so); an empty
 * one counts as unset. Throws one `CONFIG_INVALID` that names every problem, so that a deployment is mended in one round.
 * Values of variables that may hold secrets are never shown.
 */
export function readConfig<S extends TObject>(schema: S, env: NodeJS.ProcessEnv = process.env): Static<S> {
  const required = new Set<string>(schema.required)
  const values: Record<string, unknown> = {}
  const problems: string[] = []
  for (const [key, property] of settings(schema)) {
    const name = sourceOf(schema, key, env)
    const { text, fault: unreadable } = readText(name, env)
    if (unreadable !== undefined) {
      problems.push(`  ${name}_FILE ${unreadable}.`)
      continue
    }
    const inProduction = env['NODE_ENV'] === 'production'
    if (text === undefined || text === '') {
      if (property.chosenInProduction && inProduction) {
        problems.push(problem({ name, property, fault: 'is not set, and production has no default for it' }))
      } else if (property.default !== undefined) values[key] = checkedDefault(name, property)
      else if (required.has(key)) problems.push(problem({ name, property, fault: 'is not set' }))
      continue
    }
    const value = parseValue(property, text)
    if (value === undefined) {
      const fault = secretName.test(name) ? 'has a wrong value (not shown)' : `is ${JSON.stringify(text)}`
      problems.push(problem({ name, property, fault }))
    } else {
      const fault =
        tlsFault(property, text) ?? (inProduction ? unfitForProduction(property, text) : undefined)
      if (fault === undefined) values[key] = value
      else problems.push(problem({ name, property, fault }))
    }
  }
  if (problems.length > 0) {
    throw new Failure('CONFIG_INVALID', `The configuration is invalid.\n${problems.join('\n')}`, {
      details: { problems },
    })
  }
  return Object.freeze(values) as Static<S>
}

/** The variable that a setting is read from: its own one where that is set. */
export function sourceOf(schema: TObject, key: string, env: NodeJS.ProcessEnv = process.env): string {
  const own = (schema.properties[key] as Property | undefined)?.own
  return own !== undefined && (env[own] || env[`${own}_FILE`]) ? own : key
}

function readText(name: string, env: NodeJS.ProcessEnv): { text?: string | undefined; fault?: string } {
  const [text, file] = [env[name], env[`${name}_FILE`]]
  if (!file) return { text }
  if (text) return { fault: `and ${name} are both set: keep one of them` }
  try {
    return { text: readFileSync(file, 'utf8').trim() }
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code ?? String(error)
    return {
      fault: `names a file that cannot be read (${file}: ${why}): mend the path or the file's permissions`,
    }
  }
}

/** libpq's words for halves of TLS mean other things to other drivers, and to this one something else in its next version. */
const tlsWords = ['disable', 'verify-full']

/** PostgreSQL's certificates are named in the URL; a file that is not there would look like an outage. */
function tlsFault({ format }: Property, text: string): string | undefined {
  if (format !== 'postgres-url') return undefined
  const { searchParams } = new URL(text)
  const mode = searchParams.get('sslmode')
  if (mode !== null && !tlsWords.includes(mode))
    return `has sslmode=${mode}, which does not say who must answer: sslmode=verify-full does (with sslrootcert=<file> for a CA of your own), sslmode=disable is for no TLS`
  const files = ['sslrootcert', 'sslcert', 'sslkey'].flatMap((name) => {
    const file = searchParams.get(name)
    return file === null ? [] : [{ name, file }]
  })
  if (files.length > 0 && mode !== 'verify-full') return 'names certificates, but has no sslmode=verify-full'
  for (const { name, file } of files) {
    const why = whyUnreadable(file)
    if (why !== undefined) return `names a file that cannot be read (${name}=${file}: ${why})`
  }
  return undefined
}

function whyUnreadable(file: string): string | undefined {
  try {
    accessSync(file, constants.R_OK)
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error)
  }
}

function unfitForProduction({ format }: Property, text: string): string | undefined {
  if (format === 'postgres-url' && new URL(text).password === knownPassword)
    return 'has the password of docker-compose.yml, which everybody knows'
  if (format === 'http-url' && text.startsWith('http:') && !isLoopback(new URL(text).hostname))
    return 'is not encrypted, so that whoever sits on the way can put keys of his own into the answer'
  return undefined
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127(\.\d+){3}$/.test(host)
}

/** A default that breaks its own schema is a bug, found by the first start without the variable. */
function checkedDefault(name: string, property: Property): unknown {
  const value = parseValue(property, String(property.default))
  if (value !== property.default)
    throw new TypeError(`The default of ${name} must be ${expectation(property)}.`)
  return value
}

function problem({ name, property, fault }: { name: string; property: Property; fault: string }): string {
  const shown = secretName.test(name) ? 'the default' : String(property.default)
  const optional = property.default !== undefined && !property.chosenInProduction
  const otherwise = optional ? `, or leave it out for ${shown}` : ''
  const meaning = property.description === undefined ? '' : ` (${property.description})`
  return `  ${name}${meaning} ${fault}: set it to ${expectation(property)}${otherwise}.`
}

function settings(schema: TObject): [string, Property][] {
  return Object.entries(schema.properties)
}

export type Setting = { name: string; type: string; default: string | undefined; description: string }

const ownDescription = 'Of this service alone, for a user with no more rights than it needs'

/** The rows of a settings table, with defaults as they would be written in .env; a test holds the README to it. */
export function describeConfig(schema: TObject): Setting[] {
  return settings(schema).flatMap(([name, property]) => {
    const type = typeName(property)
    const fallback = property.default === undefined ? undefined : String(property.default)
    const setting = { name, type, default: fallback, description: property.description ?? '' }
    if (property.own === undefined) return [setting]
    return [setting, { ...setting, name: property.own, default: name, description: ownDescription }]
  })
}

/** Takes what `.env` in `dir` says for variables the environment does not have; no file is fine. */
export function loadDotenv(dir: string = process.cwd(), env: NodeJS.ProcessEnv = process.env): void {
  loadEnvFile(join(dir, '.env'), env)
}

/**
 * The same for any file of that form.
 * Only dotenv's parser is used: its config() prints a banner and can be told by DOTENV_* variables to override.
 */
export function loadEnvFile(path: string, env: NodeJS.ProcessEnv = process.env): void {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return
    throw new Failure('CONFIG_INVALID', `${path} cannot be read; mend its permissions or remove it.`, {
      cause,
    })
  }
  for (const [name, value] of Object.entries(parse(text))) env[name] ??= value
}
