import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { Server } from 'node:net'
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { choosePort, freePort, portIsFree, rememberedPort } from './ports.ts'
import { temporaryHome } from './testing.ts'
import type { TemporaryHome } from './testing.ts'

let temporary: TemporaryHome
let file: string

beforeEach(async () => {
  temporary = await temporaryHome()
  await mkdir(temporary.home)
  file = join(temporary.home, 'port')
})
afterEach(() => temporary.remove())

async function listenOn(port: number): Promise<Server> {
  const server = createServer().listen(port, '127.0.0.1')
  await once(server, 'listening')
  return server
}

describe('ports', () => {
  it('gives out ports that no outgoing connection can hold, and each only once', async () => {
    const ports = await Promise.all(Array.from({ length: 20 }, () => freePort()))
    expect(new Set(ports).size).toBe(20)
    for (const port of ports) expect(port).toBeLessThan(30_000)
  })

  it('remembers a port from start to start', async () => {
    const first = await rememberedPort(file)
    expect(await rememberedPort(file)).toBe(first)
  })

  it('remembers another one when the port has been taken meanwhile', async () => {
    const first = await rememberedPort(file)
    const other = await listenOn(first)
    const second = await rememberedPort(file)
    expect(second).not.toBe(first)
    expect(await readFile(file, 'utf8')).toBe(`${second}\n`)
    other.close()
  })

  it('does not stumble over a file that holds no port', async () => {
    await writeFile(file, 'not a port')
    expect(await portIsFree(await rememberedPort(file))).toBe(true)
  })

  it('says in one sentence that a port somebody asked for is taken', async () => {
    const asked = await freePort()
    const other = await listenOn(asked)
    await expect(choosePort({ asked, file, server: 'Kafka' })).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: `Kafka cannot listen on 127.0.0.1:${asked}: the port is taken. Choose another, or end the process that listens there.`,
    })
    other.close()
  })
})
