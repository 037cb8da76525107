import type { Command } from 'commander'
import { topics } from '@likewise/events'
import { Failure, maskPasswords, readConfig } from '@likewise/service'
import { catalogOf, connect, metricsOf } from './catalog.ts'
import { DoctorConfig } from './config.ts'
import { plainJson } from './dead-letters-view.ts'
import { checkBroker } from './doctor-broker.ts'
import { checkClocks } from './doctor-clocks.ts'
import { checkConsumer } from './doctor-consumer.ts'
import { checkOutbox } from './doctor-outbox.ts'
import { checkServer } from './doctor-server.ts'
import type { Tools } from './rebuild.ts'

export type Level = 'ok' | 'warn' | 'fail'

/** One thing that was looked at. Names are words of `--json`, so permanent. */
export interface Check {
  readonly name: string
  readonly level: Level
  /** What is so. */
  readonly says: string
  /** What to do about it; absent where all is well. */
  readonly todo?: string
}

export const ok = (name: string, says: string): Check => ({ name, level: 'ok', says })
export const warn = (name: string, says: string, todo: string): Check => ({ name, level: 'warn', says, todo })
export const fail = (name: string, says: string, todo: string): Check => ({ name, level: 'fail', says, todo })

/**
 * What a look says, or, where it cannot be taken, why not. So one server that is away does not hide what is wrong with the
 * others.
 */
export async function looked(name: string, look: () => Promise<Check | readonly Check[]>): Promise<Check[]> {
  try {
    const said = await look()
    return Array.isArray(said) ? [...(said as readonly Check[])] : [said as Check]
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    return [fail(name, maskPasswords(error.message), todoOf(error))]
  }
}

const todoOf = ({ code }: Failure): string =>
  code === 'DATABASE_NOT_MIGRATED'
    ? 'Run npm run migrate (likewise migrate).'
    : code === 'BROKER_UNAVAILABLE'
      ? 'See that Kafka runs, that KAFKA_BROKERS names it, and that the CLI may read topics and groups.'
      : 'See that the server runs, and that the URL and its rights are right.'

interface Options {
  consumer?: string
  json?: boolean
}

/** `likewise doctor`: what of a deployment breaks a promise, or soon will, and what to do. */
export function addDoctorCommand(program: Command, tools: Tools): void {
  program
    .command('doctor')
    .description(
      'looks at the whole deployment: servers, settings, what runs and what waits, and says what to do; ' +
        'exits 0: all well, 1: something breaks a promise or stands still, 2: something should be looked at',
    )
    .option('--consumer <name>', 'which consumer; CONSUMER_GROUP unless set')
    .option('--json', 'machine-readable')
    .action((options: Options) => doctor(options, tools))
}

async function doctor(options: Options, tools: Tools): Promise<void> {
  const config = readConfig(DoctorConfig)
  const consumer = options.consumer ?? config.CONSUMER_GROUP
  const topic = tools.topic ?? topics.catalogEvents
  const kafka = tools.kafkaOptions(config)
  const sides = [
    { side: 'catalog', ...catalogOf(config) },
    { side: 'metrics', ...metricsOf(config) },
  ] as const
  const [catalog, metrics] = [connect(sides[0]), connect(sides[1])]
  try {
    const checks = [
      ...(await checkServer(catalog, sides[0])),
      ...(await checkServer(metrics, sides[1])),
      ...(await checkClocks({ catalog, metrics })),
      ...(await checkOutbox(catalog)),
      ...(await checkBroker(kafka, {
        topic,
        deadLetters: tools.deadLetters ?? topics.deadLetters,
        ...horizonOf(config),
      })),
      ...(await checkConsumer({ db: metrics, kafka, consumer, topic })),
    ]
    if (options.json) tools.output.say(plainJson({ level: worst(checks), checks }))
    else for (const line of doctorText(checks)) tools.output.say(line)
    process.exitCode = { ok: 0, warn: 2, fail: 1 }[worst(checks)]
  } finally {
    await Promise.all([catalog.stop(), metrics.stop()])
  }
}

const horizonOf = (config: { CONSUMER_DEDUP_HORIZON_DAYS: number; RELAY_RETENTION_DAYS: number }) => ({
  horizonDays: config.CONSUMER_DEDUP_HORIZON_DAYS,
  outboxDays: config.RELAY_RETENTION_DAYS,
})

const worst = (checks: readonly Check[]): Level =>
  (['fail', 'warn'] as const).find((level) => checks.some((check) => check.level === level)) ?? 'ok'

/** For people. Pure. */
function doctorText(checks: readonly Check[]): string[] {
  const width = Math.max(...checks.map(({ name }) => name.length))
  const count = (level: Level): number => checks.filter((check) => check.level === level).length
  return [
    ...checks.flatMap(({ name, level, says, todo }) => [
      `${marks[level]}  ${name.padEnd(width)}  ${says}`,
      ...(todo === undefined ? [] : [`${' '.repeat(width + 8)}→ ${todo}`]),
    ]),
    '',
    count('fail') + count('warn') === 0
      ? `All ${String(checks.length)} checks are well.`
      : `${String(count('fail'))} to mend, ${String(count('warn'))} to look at, ${String(count('ok'))} well.`,
  ]
}

const marks: Record<Level, string> = { ok: 'ok  ', warn: 'warn', fail: 'FAIL' }
