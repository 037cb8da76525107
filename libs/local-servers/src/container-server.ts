import { Failure } from '@likewise/service'
import type { Logger } from '@likewise/service'
import type { ContainerRuntimeClient, GenericContainer } from 'testcontainers'
import type { LocalServer } from './local-server.ts'
import { isAlive, startTimeOf } from './process-records.ts'
import { until } from './until.ts'

const startTimeoutMs = 120_000
const stopGraceS = 15

const homeLabel = 'likewise.home'
const ownerLabel = 'likewise.owner'

/** What the containers of one home share; `id` is the home's, see homeId. */
export interface ContainerHome {
  engine: ContainerRuntimeClient
  home: string
  id: string
  log: Logger
}

/** A LocalServer in a container that `remove` takes away; its data stays in its volume. */
export interface ContainerServer extends LocalServer {
  remove(): Promise<void>
}

/**
 * Removes the containers that an earlier run of this home left behind because it was killed. That is why testcontainers'
 * own reaper is not used (withAutoCleanup): it is one more image to pull, and a home's rule is the same everywhere: the
 * next start clears up. Throws ALREADY_RUNNING while the process that started them runs.
 */
export async function removeLeftoverContainers({ engine, home, id }: ContainerHome): Promise<void> {
  const { dockerode } = engine.container
  const found = await dockerode.listContainers({ all: true, filters: { label: [`${homeLabel}=${id}`] } })
  for (const { Id, Labels: labels } of found) {
    const owner = parseOwner(labels[ownerLabel] ?? '')
    if (isAlive(owner)) {
      throw new Failure(
        'ALREADY_RUNNING',
        `${home} is in use: process ${owner.pid} runs its containers. Stop that process first.`,
      )
    }
    await dockerode.getContainer(Id).remove({ force: true, v: true })
  }
}

function ownerText(): string {
  return `${process.pid} ${startTimeOf(process.pid) ?? ''}`
}

function parseOwner(text: string): { pid: number; startTime: string } {
  const blank = text.indexOf(' ')
  return { pid: Number(text.slice(0, blank)), startTime: text.slice(blank + 1) }
}

/** Starts a container and waits until its server answers. A container that does not get there is removed. */
export async function startContainer(
  { engine, id, log }: ContainerHome,
  options: {
    name: 'postgres' | 'kafka'
    container: GenericContainer
    port: number
    answers: (port: number, host: string) => Promise<boolean>
  },
): Promise<ContainerServer> {
  const { name, port } = options
  const began = performance.now()
  const containerName = `likewise-${id}-${name}`
  const container = engine.container.dockerode.getContainer(containerName)
  const remove = () => container.remove({ force: true, v: true })
  const untilAnswers = async () => {
    const host = engine.info.containerRuntime.host
    if (await until(() => options.answers(port, host), startTimeoutMs)) return
    throw new Failure(
      unavailable(name),
      `The container ${containerName} runs, but ${name} does not answer on port ${port}.`,
    )
  }
  const isRunning = async () => (await container.inspect()).State.Running
  try {
    await options.container
      .withName(containerName)
      .withLabels({ [homeLabel]: id, [ownerLabel]: ownerText() })
      .withAutoCleanup(false)
      .withStartupTimeout(startTimeoutMs)
      .start()
    await untilAnswers()
  } catch (cause) {
    await remove().catch(() => undefined) // it may not have come into being; the cause is what matters
    if (cause instanceof Failure) throw cause
    throw new Failure(unavailable(name), `The container ${containerName} did not start.`, { cause })
  }
  log.info({ container: containerName, port, ms: Math.round(performance.now() - began) }, 'Container started')
  return {
    port,
    pid: undefined,
    async start() {
      if (await isRunning()) return
      await container.start()
      await untilAnswers()
    },
    async stop() {
      if (await isRunning()) await container.stop({ t: stopGraceS })
    },
    async kill() {
      if (await isRunning()) await container.kill()
    },
    async remove() {
      if (await isRunning()) await container.stop({ t: stopGraceS })
      await remove()
    },
  }
}

function unavailable(name: 'postgres' | 'kafka') {
  return name === 'postgres' ? 'DATABASE_UNAVAILABLE' : 'BROKER_UNAVAILABLE'
}
