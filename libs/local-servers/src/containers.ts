import { mkdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from '@likewise/service'
import { kafkaAnswers, postgresAnswers } from './answers.ts'
import { containerWays, ensureImage, findEngine, volumeNames } from './container-engine.ts'
import { removeLeftoverContainers, startContainer } from './container-server.ts'
import type { ContainerHome, ContainerServer } from './container-server.ts'
import { homeId, postgresPassword } from './home.ts'
import { missingTool } from './missing-tool.ts'
import { choosePort } from './ports.ts'
import { together } from './together.ts'

const images = { postgres: 'postgres:18', kafka: 'apache/kafka:4.3.1' } as const
const engineTimeoutMs = 20_000

export interface Containers {
  postgres: ContainerServer & { readonly url: string; readonly adminUrl: string }
  kafka: ContainerServer & { readonly brokers: string }
  /** Stops and removes the containers. The data stays in two volumes until removeHome. */
  stop(): Promise<void>
}

/** PostgreSQL 18 and Kafka 4.3.1 in containers of this home's own. MISSING_TOOL without an engine or an image. */
export async function startContainers(options: { home: string; log: Logger }): Promise<Containers> {
  const engine = await findEngine(engineTimeoutMs)
  if (engine === undefined) throw missingTool('No Docker engine answers.', containerWays)
  await Promise.all(Object.values(images).map((image) => ensureImage(engine, image, options.log)))
  await mkdir(join(options.home, 'containers'), { recursive: true })
  const home = await realpath(options.home)
  const room: ContainerHome = { engine, home, id: await homeId(home), log: options.log }
  await removeLeftoverContainers(room)
  const [postgres, kafka] = await together([() => startPostgres(room), () => startKafka(room)], (server) =>
    server.remove(),
  )
  return {
    postgres,
    kafka,
    async stop() {
      await Promise.all([postgres.remove(), kafka.remove()])
    },
  }
}

async function startPostgres(room: ContainerHome) {
  const { GenericContainer, Wait } = await import('testcontainers')
  const port = await choosePort({ asked: undefined, file: portFile(room, 'postgres'), server: 'PostgreSQL' })
  const password = await postgresPassword(room.home)
  const container = new GenericContainer(images.postgres)
    .withEnvironment({ POSTGRES_PASSWORD: password, POSTGRES_DB: 'likewise', TZ: 'UTC' })
    .withCommand(['postgres', '-c', 'wal_level=logical', '-c', 'max_connections=200', '-c', 'timezone=UTC'])
    .withExposedPorts({ container: 5432, host: port })
    .withBindMounts([{ source: volumeNames(room.id).postgres, target: '/var/lib/postgresql', mode: 'rw' }])
    // Once is enough: a second such line comes only when the volume is new, and `answers` sees through the first one,
    // since the server of the set-up does not listen on TCP.
    .withWaitStrategy(Wait.forLogMessage('database system is ready to accept connections'))
  const server = await startContainer(room, { name: 'postgres', container, port, answers: postgresAnswers })
  const urlTo = (database: string) => `postgresql://postgres:${password}@${hostOf(room)}:${port}/${database}`
  return Object.assign(server, { url: urlTo('likewise'), adminUrl: urlTo('postgres') })
}

async function startKafka(room: ContainerHome) {
  const { GenericContainer, Wait } = await import('testcontainers')
  const port = await choosePort({ asked: undefined, file: portFile(room, 'kafka'), server: 'Kafka' })
  const container = new GenericContainer(images.kafka)
    .withEnvironment(kafkaEnvironment(hostOf(room), port))
    .withExposedPorts({ container: port, host: port })
    .withBindMounts([{ source: volumeNames(room.id).kafka, target: '/var/lib/kafka/data', mode: 'rw' }])
    .withWaitStrategy(Wait.forLogMessage('Kafka Server started'))
  const server = await startContainer(room, { name: 'kafka', container, port, answers: kafkaAnswers })
  return Object.assign(server, { brokers: `${hostOf(room)}:${port}` })
}

function hostOf(room: ContainerHome): string {
  return room.engine.info.containerRuntime.host
}

function portFile(room: ContainerHome, name: string): string {
  return join(room.home, 'containers', `${name}-port`)
}

/** The broker listens on the advertised port inside too: it also dials itself by that address. */
export function kafkaEnvironment(host: string, port: number): Record<string, string> {
  return {
    KAFKA_NODE_ID: '1',
    KAFKA_PROCESS_ROLES: 'broker,controller',
    KAFKA_CONTROLLER_QUORUM_VOTERS: '1@localhost:9093',
    KAFKA_CONTROLLER_LISTENER_NAMES: 'CONTROLLER',
    KAFKA_LISTENERS: `PLAINTEXT://0.0.0.0:${port},CONTROLLER://localhost:9093`,
    KAFKA_ADVERTISED_LISTENERS: `PLAINTEXT://${host}:${port}`,
    KAFKA_INTER_BROKER_LISTENER_NAME: 'PLAINTEXT',
    KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    KAFKA_LOG_DIRS: '/var/lib/kafka/data',
    KAFKA_HEAP_OPTS: '-Xms256m -Xmx512m',
    KAFKA_AUTO_CREATE_TOPICS_ENABLE: 'false',
    KAFKA_NUM_PARTITIONS: '12',
    KAFKA_LOG_RETENTION_HOURS: String(14 * 24),
    KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS: '10',
    KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: '1',
    KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS: '10',
    KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR: '1',
    KAFKA_TRANSACTION_STATE_LOG_MIN_ISR: '1',
    KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR: '1',
    KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR: '1',
    KAFKA_BROKER_SESSION_TIMEOUT_MS: '3000',
    KAFKA_BROKER_HEARTBEAT_INTERVAL_MS: '500',
    KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: '0',
  }
}
