import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { pause } from '@likewise/service'
import type { Logger } from '@likewise/service'
import type { ContainerRuntimeClient } from 'testcontainers'
import { missingTool } from './missing-tool.ts'

const answerMs = 2_000
const pullTimeoutMs = 300_000

export const containerWays = {
  install: 'set LIKEWISE_SERVERS=embedded, which needs Java 17 or newer and Maven',
}

/** True when a Docker engine answers; false within two seconds of asking it in vain. */
export async function dockerAnswers(): Promise<boolean> {
  return (await findEngine()) !== undefined
}

/** The engine that testcontainers finds, if one answers in time. Loads testcontainers (half a second) only if need be. */
export async function findEngine(timeoutMs = answerMs): Promise<ContainerRuntimeClient | undefined> {
  if (!mayHaveEngine()) return undefined
  const { getContainerRuntimeClient } = await import('testcontainers')
  const answered = new AbortController()
  try {
    return await Promise.race([
      getContainerRuntimeClient().catch(() => undefined), // it throws for want of an engine, and that is an answer
      pause(timeoutMs, answered.signal).then(() => undefined),
    ])
  } finally {
    answered.abort()
  }
}

/** Whether any of the places is there where testcontainers looks for an engine. */
function mayHaveEngine(): boolean {
  const home = homedir()
  const places = [
    '/var/run/docker.sock',
    join(process.env['XDG_RUNTIME_DIR'] ?? '/nowhere', 'docker.sock'),
    join(home, '.docker', 'run', 'docker.sock'),
    join(home, '.docker', 'desktop', 'docker.sock'),
    `/run/user/${process.getuid?.() ?? 0}/docker.sock`,
    join(home, '.testcontainers.properties'),
  ]
  return Boolean(process.env['DOCKER_HOST']) || places.some((place) => existsSync(place))
}

/** Present, or pulled within a bound. A pull does not report all its errors: what counts is that the image is there. */
export async function ensureImage(engine: ContainerRuntimeClient, name: string, log: Logger): Promise<void> {
  const { ImageName } = await import('testcontainers')
  const image = ImageName.fromString(name)
  if (await engine.image.exists(image)) return
  log.info({ image: name }, 'Pulling image, this once')
  const pulled = new AbortController()
  let cause: unknown
  try {
    await Promise.race([engine.image.pull(image), pause(pullTimeoutMs, pulled.signal)])
    if (await engine.image.exists(image)) return
  } catch (error) {
    cause = error
  } finally {
    pulled.abort()
  }
  throw missingTool(`The image ${name} is not there and cannot be pulled.`, containerWays, { cause })
}

/** The volumes of the home with this id, see homeId. */
export function volumeNames(id: string): { postgres: string; kafka: string } {
  return { postgres: `likewise-${id}-postgres`, kafka: `likewise-${id}-kafka` }
}

/** Removes the volumes of a home that are there. Without an engine there is nothing to remove them from. */
export async function removeVolumes(id: string): Promise<void> {
  const engine = await findEngine()
  if (engine === undefined) return
  const { dockerode } = engine.container
  const { Volumes: volumes } = await dockerode.listVolumes()
  const names = Object.values(volumeNames(id))
  for (const { Name: name } of volumes) {
    if (names.includes(name)) await dockerode.getVolume(name).remove()
  }
}
