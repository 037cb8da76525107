import type { Database } from '@likewise/database'
import { buildHandler } from '@likewise/inbox'
import { type KafkaOptions, type Subscriber, subscribe } from '@likewise/kafka'
import { applyToProductMetrics } from '@likewise/metrics'
import { buildLogger, buildTelemetry, parseBrokers } from '@likewise/service'
import { Command } from 'commander'
import { horizon } from './rebuild-testing.ts'
import type { Tools } from './rebuild.ts'

export const log = buildLogger({ service: 'test', level: 'silent' })

/** `env`: the test's own. */
export const kafkaOf = (env: NodeJS.ProcessEnv): KafkaOptions => ({
  ...{ brokers: parseBrokers(env['KAFKA_BROKERS'] ?? ''), clientId: 'test', requestTimeoutMs: 10_000 },
  log,
})

interface Reading {
  kafka: KafkaOptions
  db: Database
  topic: string
  consumer: string
}

/** The consumer, as metrics-consumer has it. */
export function joinGroup({ kafka, db, topic, consumer }: Reading): Subscriber {
  const telemetry = buildTelemetry('test')
  const about = { db, consumer, horizon, transactionsAtOnceMax: 3, work: applyToProductMetrics }
  return subscribe({
    ...{ ...kafka, groupId: consumer, topic, partitionsAtOnceMax: 64 },
    onBatch: buildHandler({ ...about, log, telemetry }),
    fail: (error) => {
      throw error
    },
  })
}

/** What a command line says. Its exit code is the process's. */
export async function saidBy(
  add: (program: Command, tools: Tools) => void,
  words: readonly string[],
  tools: Omit<Tools, 'output'>,
): Promise<string> {
  const lines: string[] = []
  const program = new Command().exitOverride().configureOutput({ writeErr: () => undefined })
  add(program, { ...tools, output: { say: (line) => void lines.push(line) } })
  await program.parseAsync(['node', 'likewise', ...words])
  return lines.join('\n')
}
