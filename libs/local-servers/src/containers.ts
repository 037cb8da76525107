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
import { workspaceRoot } from './services.ts'
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
    .withCopyFilesToContainer(
      kafkaFiles.map((name) => ({
        source: join(kafkaFolder, name),
        target: `/mnt/shared/config/${name}`,
        mode: 0o644,
      })),
    )
    // Where the image writes its settings at the start; 1000 is its user.
    .withTmpFs({ '/opt/kafka/config': 'uid=1000,gid=1000' })
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

/** Settings that do not depend on the machine; docker-compose.yml mounts the same folder. */
const kafkaFolder = join(workspaceRoot, 'deploy', 'docker', 'kafka')
const kafkaFiles = ['server.properties', 'log4j2.yaml', 'tools-log4j2.yaml']

/** The broker listens on the advertised port inside too: it also dials itself by that address. */
export function kafkaEnvironment(host: string, port: number): Record<string, string> {
  return {
    KAFKA_LISTENERS: `PLAINTEXT://0.0.0.0:${port},CONTROLLER://localhost:9093`,
    KAFKA_ADVERTISED_LISTENERS: `PLAINTEXT://${host}:${port}`,
    KAFKA_HEAP_OPTS: '-Xms256m -Xmx512m',
  }
}
