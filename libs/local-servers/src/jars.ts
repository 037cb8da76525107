import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Failure, Logger } from '@likewise/service'
import { runCommand, tail } from './commands.ts'

const javaMin = 17
const javaTimeoutMs = 20_000
/** 44 MB for Kafka; enough for a slow line, and a hanging one ends. */
const mavenTimeoutMs = 600_000
/** What a killed Maven left is removed after this; until then it may be another one at work. */
const unfinishedMs = 2 * mavenTimeoutMs

/** A program for Java, as Maven fetches it. */
export interface JarSet {
  /** With its version, as a sentence wants it: `Kafka 4.3.1`. */
  readonly name: string
  /** Its place in the cache; another pom needs another one. */
  readonly directory: string
  readonly pom: string
  /** Adds to what is missing how to mend it. */
  readonly missing: (sentence: string, options?: { cause?: unknown }) => Failure
}

interface Java {
  command: string
  /** All that `java -version` says. */
  version: string
}

export interface JavaTools {
  java: Java
  /** The directory that holds the jars. */
  jars: string
}

interface Options {
  env: NodeJS.ProcessEnv
  log: Logger
}

/** Java and the jars, fetched by Maven if this user's cache has none; MISSING_TOOL says what is not there. */
export async function findJars(set: JarSet, options: Options): Promise<JavaTools> {
  const { java, sentence } = await lookAround(set, options.env)
  if (java === undefined || sentence !== '') throw set.missing(sentence)
  const jars = placeOf(set, options.env)
  if (!existsSync(jars)) await fetchJars(set, jars, options)
  return { java, jars }
}

/** What findJars would miss on this machine, without fetching anything; undefined when Java and Maven are there. */
export async function missingFor(set: JarSet, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  return (await lookAround(set, env)).sentence || undefined
}

async function lookAround(set: JarSet, env: NodeJS.ProcessEnv) {
  const jars = placeOf(set, env)
  const [java, maven] = await Promise.all([findJava(set, env), existsSync(jars) || hasMaven(env)])
  const missing = [
    ...(typeof java === 'string' ? [java] : []),
    ...(maven ? [] : [`Maven is not installed (no mvn in PATH), and ${set.name} is not in ${jars} yet.`]),
  ]
  return { java: typeof java === 'string' ? undefined : java, sentence: missing.join(' ') }
}

function placeOf(set: JarSet, env: NodeJS.ProcessEnv): string {
  return join(cacheDirectory(env), set.directory)
}

export function cacheDirectory(env: NodeJS.ProcessEnv): string {
  const base = env['LIKEWISE_CACHE'] || env['XDG_CACHE_HOME'] || join(homedir(), '.cache')
  return join(base, 'likewise')
}

/** Java, or the sentence that says why there is none. */
async function findJava({ name }: JarSet, env: NodeJS.ProcessEnv): Promise<Java | string> {
  const command = env['JAVA_HOME'] ? join(env['JAVA_HOME'], 'bin', 'java') : 'java'
  const { ok, missing, output } = await runCommand(command, ['-version'], { env, timeoutMs: javaTimeoutMs })
  if (missing) return `Java is not installed (no program ${command}).`
  const major = parseJavaMajor(output)
  if (!ok || major === undefined) return `Java does not run: ${command} -version says "${tail(output, 1)}".`
  if (major < javaMin) return `Java ${major} is too old: ${name} needs ${javaMin} or newer.`
  return { command, version: output }
}

/** `openjdk version "17.0.15"` → 17, `java version "1.8.0_402"` → 8. */
export function parseJavaMajor(output: string): number | undefined {
  const [, first, second] = /version "(\d+)(?:\.(\d+))?/.exec(output) ?? []
  const major = first === '1' ? second : first
  return major === undefined ? undefined : Number(major)
}

async function hasMaven(env: NodeJS.ProcessEnv): Promise<boolean> {
  return !(await runCommand('mvn', ['-version'], { env, timeoutMs: javaTimeoutMs })).missing
}

/** Appears whole or not at all: fetched beside and renamed, so a kill or a second fetcher leaves nothing half-made. */
async function fetchJars(set: JarSet, jars: string, { env, log }: Options): Promise<void> {
  const began = performance.now()
  log.info({ name: set.name, directory: jars }, 'Fetching by Maven, this once')
  await mkdir(dirname(jars), { recursive: true })
  await removeUnfinished(jars)
  const beside = `${jars}.${randomBytes(4).toString('hex')}`
  try {
    await runMaven(set, beside, env)
    await rename(beside, jars)
  } catch (error) {
    await rm(beside, { recursive: true, force: true })
    if (!existsSync(jars)) throw error // else another process was faster
  }
  log.info({ name: set.name, directory: jars, ms: Math.round(performance.now() - began) }, 'Fetched')
}

async function runMaven(set: JarSet, into: string, env: NodeJS.ProcessEnv): Promise<void> {
  const args = [
    '-B',
    '-q',
    '-ntp',
    '-f',
    set.pom,
    'dependency:copy-dependencies',
    `-DoutputDirectory=${into}`,
  ]
  const result = await runCommand('mvn', args, { env, timeoutMs: mavenTimeoutMs })
  if (result.ok) return
  throw set.missing(`Maven could not fetch ${set.name}:\n${tail(result.output)}\n`, { cause: result.error })
}

async function removeUnfinished(jars: string): Promise<void> {
  const directory = dirname(jars)
  for (const name of await readdir(directory)) {
    const path = join(directory, name)
    if (!path.startsWith(`${jars}.`)) continue
    const { mtimeMs } = await stat(path)
    if (Date.now() - mtimeMs > unfinishedMs) await rm(path, { recursive: true, force: true })
  }
}
