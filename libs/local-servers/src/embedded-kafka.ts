import { existsSync } from 'node:fs'
import { mkdir, realpath, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Failure } from '@likewise/service'
import type { Logger } from '@likewise/service'
import { kafkaAnswers } from './answers.ts'
import { classArchive } from './class-archive.ts'
import { runCommand, tail } from './commands.ts'
import { findKafkaTools } from './kafka-jars.ts'
import type { JavaTools } from './jars.ts'
import { runServer } from './local-server.ts'
import type { EmbeddedServer } from './local-server.ts'
import { type BrokerSecurity, securitySettings } from './kafka-security.ts'
import { choosePort, rememberedPort } from './ports.ts'
import { startProcess } from './processes.ts'
import type { RunningProcess } from './processes.ts'
import { until } from './until.ts'

/** A start takes 2 s here; recovery of large logs after a kill takes longer. */
const startTimeoutMs = 90_000
const stopGraceMs = 20_000
const formatTimeoutMs = 60_000

/** Kafka wants one; a broker of one node needs no other than anybody else's. */
const clusterId = '5L6g3nShT-eMCtK--X86sw'

const log4j = fileURLToPath(new URL('../kafka/log4j2.properties', import.meta.url))

export interface EmbeddedKafka extends EmbeddedServer {
  /** `host:port`, as KAFKA_BROKERS wants it. */
  readonly brokers: string
  /** The door of whoever gives out rights, where clients must prove who they are; else the same. */
  readonly adminBrokers: string
}

/**
 * A Kafka 4.3.1 of this home's own (KRaft, one node, broker and controller), ready to take requests. What an earlier run
 * left behind must have been ended before (endLeftovers).
 */
export async function startEmbeddedKafka(options: {
  home: string
  port?: number | undefined
  log: Logger
  env?: NodeJS.ProcessEnv
  /** None: everybody on this machine may do everything. */
  security?: BrokerSecurity
}): Promise<EmbeddedKafka> {
  const { log, env = process.env } = options
  const tools = await findKafkaTools({ env, log })
  await mkdir(join(options.home, 'kafka'), { recursive: true })
  const home = await realpath(options.home)
  const port = await choosePort({ asked: options.port, file: join(home, 'kafka', 'port'), server: 'Kafka' })
  const controllerPort = await rememberedPort(join(home, 'kafka', 'controller-port'))
  const { security } = options
  const adminPort = security ? await rememberedPort(join(home, 'kafka', 'internal-port')) : port
  const data = join(home, 'kafka', 'data')
  const settings = join(home, 'kafka', 'server.properties')
  const places = { folder: join(home, 'kafka'), port, internalPort: adminPort, controllerPort }
  const secured = security ? await securitySettings(security, places) : {}
  await writeFile(settings, kafkaSettings({ port, controllerPort, data }, secured))
  let archive = classArchive(tools, home)
  if (!existsSync(join(data, 'meta.properties'))) await formatStorage(tools, archive.readArgs, settings)
  const server = await runServer({
    port,
    launch() {
      archive = classArchive(tools, home) // by the second start it may be there
      return launch({
        home,
        port: adminPort,
        log,
        env,
        command: tools.java.command,
        args: javaArgs(tools, archive.args, settings),
      })
    },
    async stop(running) {
      const exit = await running.stop('SIGTERM', stopGraceMs)
      if (exit.signal === null) await archive.keep() // a killed one may have been writing it
      return exit
    },
  })
  return Object.assign(server, { brokers: `127.0.0.1:${port}`, adminBrokers: `127.0.0.1:${adminPort}` })
}

/** One node, hence one replica of everything; few partitions of Kafka's own topics, since each costs a start time. */
export function kafkaSettings(
  options: { port: number; controllerPort: number; data: string },
  over: Readonly<Record<string, string | number>> = {},
): string {
  const { port, controllerPort, data } = options
  const settings = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    'controller.listener.names': 'CONTROLLER',
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'inter.broker.listener.name': 'PLAINTEXT',
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'log.dirs': data.replaceAll('\\', '\\\\'),
    'auto.create.topics.enable': false,
    'num.partitions': 12,
    'default.replication.factor': 1,
    'min.insync.replicas': 1,
    'log.retention.hours': 14 * 24,
    'offsets.topic.num.partitions': 10,
    'offsets.topic.replication.factor': 1,
    'transaction.state.log.num.partitions': 10,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'share.coordinator.state.topic.num.partitions': 10,
    'share.coordinator.state.topic.replication.factor': 1,
    'share.coordinator.state.topic.min.isr': 1,
    // After a kill the controller takes the new broker for a double of the old one until its session (9 s) has ended.
    'broker.session.timeout.ms': 3_000,
    'broker.heartbeat.interval.ms': 500,
    // Kafka waits 3 s for more consumers before a group's first rebalance; here all there are, are there.
    'group.initial.rebalance.delay.ms': 0,
    ...over,
  }
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')
}

async function formatStorage(tools: JavaTools, archiveArgs: string[], settings: string): Promise<void> {
  const tool = ['kafka.tools.StorageTool', 'format', '--ignore-formatted', '-t', clusterId, '-c', settings]
  const args = ['-Xmx256m', '-XX:TieredStopAtLevel=1', ...archiveArgs, ...classPath(tools), ...tool]
  const result = await runCommand(tools.java.command, args, { timeoutMs: formatTimeoutMs })
  if (result.ok) return
  throw new Failure('BROKER_UNAVAILABLE', `Kafka's storage could not be set up:\n${tail(result.output)}`, {
    cause: result.error,
  })
}

function javaArgs(tools: JavaTools, archiveArgs: string[], settings: string): string[] {
  return [
    '-Xms256m',
    '-Xmx512m',
    '-XX:+UseG1GC',
    '-XX:MaxGCPauseMillis=20',
    '-XX:+ExitOnOutOfMemoryError',
    '-XX:-UsePerfData',
    '-Djava.awt.headless=true',
    ...archiveArgs,
    ...classPath(tools),
    'kafka.Kafka',
    settings,
  ]
}

function classPath(tools: JavaTools): string[] {
  return [`-Dlog4j2.configurationFile=${log4j}`, '-cp', join(tools.jars, '*')]
}

async function launch(options: {
  home: string
  port: number
  log: Logger
  env: NodeJS.ProcessEnv
  command: string
  args: string[]
}): Promise<RunningProcess> {
  const { home, port, log, env, command, args } = options
  const began = performance.now()
  await rm(join(home, 'kafka', 'classes.jsa'), { force: true }) // of a run that was killed while it wrote
  const logFile = join(home, 'logs', 'kafka.log')
  const running = await startProcess({
    home,
    name: 'kafka',
    command,
    args,
    env,
    logFile,
    cwd: join(home, 'kafka'),
  })
  const started = async () =>
    running.hasExited() ||
    ((await running.output()).includes('Kafka Server started') && (await kafkaAnswers(port)))
  if ((await until(started, startTimeoutMs)) && !running.hasExited()) {
    log.info({ port, ms: Math.round(performance.now() - began) }, 'Kafka started')
    return running
  }
  await running.stop('SIGKILL', 0)
  throw new Failure(
    'BROKER_UNAVAILABLE',
    `Kafka did not start on 127.0.0.1:${port}:\n${await running.outputTail()}`,
  )
}
