import { createServer } from 'node:http'
import type { Server } from 'node:http'
import { once } from 'node:events'
import { join } from 'node:path'
import { mkdir, rm } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { kafkaAnswers, postgresAnswers } from './answers.ts'
import { dockerAnswers } from './container-engine.ts'
import { removeHome } from './home.ts'
import { isAlive, readRecords } from './process-records.ts'
import { startServers } from './servers.ts'
import { silentLog, startParent, temporaryHome } from './testing.ts'
import type { TemporaryHome } from './testing.ts'

const named = {
  CATALOG_DATABASE_URL: 'postgresql://u:p@db1/catalog',
  METRICS_DATABASE_URL: 'postgresql://u:p@db2/metrics',
  KAFKA_BROKERS: 'k1:9092,k2:9092',
}

let temporary: TemporaryHome
let home: string

beforeEach(async () => {
  temporary = await temporaryHome()
  home = temporary.home
})
afterEach(() => temporary.remove())

const start = (env: NodeJS.ProcessEnv) => startServers({ home, log: silentLog, env })

describe('startServers', () => {
  it('takes the servers that the environment names', async () => {
    expect(await start(named)).toMatchObject({
      kind: 'env',
      catalogDatabaseUrl: named.CATALOG_DATABASE_URL,
      metricsDatabaseUrl: named.METRICS_DATABASE_URL,
      kafkaBrokers: named.KAFKA_BROKERS,
    })
  })

  it('refuses an environment that names only some of them, and says which are missing', async () => {
    await expect(start({ KAFKA_BROKERS: 'k1:9092', METRICS_DATABASE_URL: '' })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(/^CATALOG_DATABASE_URL and METRICS_DATABASE_URL are not set:/),
    })
    await expect(start({ LIKEWISE_SERVERS: 'env' })).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  it('refuses a kind it does not know', async () => {
    await expect(start({ ...named, LIKEWISE_SERVERS: 'docker' })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: 'LIKEWISE_SERVERS is "docker"; it must be one of env, containers, embedded, or unset.',
    })
  })

  it('starts embedded ones side by side, refuses a second run of the home, and ends both', async () => {
    const env = { ...process.env, ...named, LIKEWISE_SERVERS: 'embedded' }
    const servers = await start(env)
    try {
      expect(servers.kind).toBe('embedded')
      expect(await postgresAnswers(servers.postgres?.port ?? 0)).toBe(true)
      expect(await kafkaAnswers(servers.kafka?.port ?? 0)).toBe(true)
      await expect(start(env)).rejects.toMatchObject({ code: 'ALREADY_RUNNING' })
      await expect(removeHome(home)).rejects.toMatchObject({ code: 'ALREADY_RUNNING' })
      expect(await postgresAnswers(servers.postgres?.port ?? 0)).toBe(true)
    } finally {
      await servers.stop()
    }
    expect(readRecords(home)).toEqual([])
  })

  it('ends PostgreSQL again when Kafka cannot be had', async () => {
    const env = { PATH: '/nowhere', LIKEWISE_SERVERS: 'embedded' }
    await expect(start(env)).rejects.toMatchObject({ code: 'MISSING_TOOL' })
    expect(readRecords(home)).toEqual([])
  })

  it('takes over from a run that was killed', async () => {
    const parent = await startParent({ home, servers: 'both' })
    const left = readRecords(home)
    await parent.kill()
    expect(left.map(isAlive)).toEqual([true, true])
    const servers = await start({ ...process.env, LIKEWISE_SERVERS: 'embedded' })
    try {
      expect(left.map(isAlive)).toEqual([false, false])
      expect(servers.catalogDatabaseUrl).toBe(parent.url)
      expect(servers.kafkaBrokers).toBe(parent.brokers)
    } finally {
      await servers.stop()
    }
  })
})

describe('dockerAnswers', () => {
  const before = process.env['DOCKER_HOST']
  afterEach(() => {
    if (before === undefined) delete process.env['DOCKER_HOST']
    else process.env['DOCKER_HOST'] = before
  })

  it('is false, and soon, when the engine hangs', async () => {
    await mkdir(home)
    const socket = join(home, 'docker.sock')
    const engine: Server = createServer(() => undefined).listen(socket)
    await once(engine, 'listening')
    process.env['DOCKER_HOST'] = `unix://${socket}`
    const began = performance.now()
    expect(await dockerAnswers()).toBe(false)
    expect(performance.now() - began).toBeLessThan(10_000)
    engine.closeAllConnections()
    engine.close()
    await rm(socket, { force: true })
  })
})
