import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Logger } from '@likewise/service'
import { runCommand, tail } from './commands.ts'
import { missingTool } from './missing-tool.ts'

/** Names the cache's directory; kafka/pom.xml says the same. */
const kafkaVersion = '4.3.1'

const kafkaWays = { install: 'install Java 17 or newer and Maven, which fetches Kafka once' }

const javaMin = 17
const javaTimeoutMs = 20_000
/** 44 MB; enough for a slow line, and a hanging one ends. */
const mavenTimeoutMs = 600_000
/** What a killed Maven left is removed after this; until then it may be another one at work. */
const unfinishedMs = 2 * mavenTimeoutMs

export interface Java {
  command: string
  /** All that `java -version` says. */
  version: string
}

export interface KafkaTools {
  java: Java
  /** The directory that holds the jars. */
  jars: string
}

/** Java and the jars of Kafka, fetched by Maven if this user's cache has none; MISSING_TOOL says what is not there. */
export async function findKafkaTools(options: { env: NodeJS.ProcessEnv; log: Logger }): Promise<KafkaTools> {
  const jars = join(cacheDirectory(options.env), `kafka-${kafkaVersion}`)
  const cached = existsSync(jars)
  const [java, maven] = await Promise.all([findJava(options.env), cached || hasMaven(options.env)])
  const missing = [
    ...(typeof java === 'string' ? [java] : []),
    ...(maven ? [] : [`Maven is not installed (no mvn in PATH), and Kafka's jars are not in ${jars} yet.`]),
  ]
  if (typeof java === 'string' || missing.length > 0) throw missingTool(missing.join(' '), kafkaWays)
  if (!cached) await fetchJars(jars, options)
  return { java, jars }
}

export function cacheDirectory(env: NodeJS.ProcessEnv): string {
  const base = env['LIKEWISE_CACHE'] || env['XDG_CACHE_HOME'] || join(homedir(), '.cache')
  return join(base, 'likewise')
}

/** Java, or the sentence that says why there is none. */
async function findJava(env: NodeJS.ProcessEnv): Promise<Java | string> {
  const command = env['JAVA_HOME'] ? join(env['JAVA_HOME'], 'bin', 'java') : 'java'
  const { ok, missing, output } = await runCommand(command, ['-version'], { env, timeoutMs: javaTimeoutMs })
  if (missing) return `Java is not installed (no program ${command}).`
  const major = parseJavaMajor(output)
  if (!ok || major === undefined) return `Java does not run: ${command} -version says "${tail(output, 1)}".`
  if (major < javaMin) return `Java ${major} is too old: Kafka ${kafkaVersion} needs ${javaMin} or newer.`
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
async function fetchJars(jars: string, { env, log }: { env: NodeJS.ProcessEnv; log: Logger }): Promise<void> {
  const began = performance.now()
  log.info({ directory: jars }, 'Fetching Kafka by Maven, this once')
  await mkdir(dirname(jars), { recursive: true })
  await removeUnfinished(jars)
  const beside = `${jars}.${randomBytes(4).toString('hex')}`
  try {
    await runMaven(beside, env)
    await rename(beside, jars)
  } catch (error) {
    await rm(beside, { recursive: true, force: true })
    if (!existsSync(jars)) throw error // else another process was faster
  }
  log.info({ directory: jars, ms: Math.round(performance.now() - began) }, 'Kafka fetched')
}

async function runMaven(into: string, env: NodeJS.ProcessEnv): Promise<void> {
  const pom = fileURLToPath(new URL('../kafka/pom.xml', import.meta.url))
  const args = ['-B', '-q', '-ntp', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${into}`]
  const result = await runCommand('mvn', args, { env, timeoutMs: mavenTimeoutMs })
  if (result.ok) return
  throw missingTool(`Maven could not fetch Kafka ${kafkaVersion}:\n${tail(result.output)}\n`, kafkaWays, {
    cause: result.error,
  })
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
