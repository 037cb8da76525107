import { randomInt } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname } from 'node:path'
import { Failure } from '@likewise/service'

/**
 * Below the ephemeral range of Linux (32768) and macOS (49152) and the node ports of Kubernetes (30000). A port out of
 * the ephemeral range may be somebody's outgoing connection when the server comes back; worse, a client that keeps
 * dialling such a port on loopback while its server is down can end up connected to itself.
 */
const lowestPort = 20_000
const highestPort = 29_999
const triesMax = 200

/** Given out by this process: two servers that start side by side must not draw the same port before either listens. */
const given = new Set<number>()

export function portIsFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => {
      resolve(false)
    })
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      server.close(() => {
        resolve(true)
      })
    })
  })
}

export async function freePort(): Promise<number> {
  for (let tries = 0; tries < triesMax; tries++) {
    const port = randomInt(lowestPort, highestPort + 1)
    if (given.has(port) || !(await portIsFree(port))) continue
    given.add(port)
    return port
  }
  throw new Failure(
    'PORT_IN_USE',
    `No free port was found between ${lowestPort} and ${highestPort} on 127.0.0.1.`,
  )
}

/** The port written in `file` while it is free, so that URLs stay the same from start to start; else a new one. */
export async function rememberedPort(file: string): Promise<number> {
  const port = Number(await readFile(file, 'utf8').catch(() => ''))
  if (Number.isInteger(port) && port > 0 && port < 65_536 && (await portIsFree(port))) return port
  const fresh = await freePort()
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, `${fresh}\n`)
  return fresh
}

/** The port somebody asked for, or the remembered one. */
export async function choosePort(options: {
  asked: number | undefined
  file: string
  server: string
}): Promise<number> {
  if (options.asked === undefined) return rememberedPort(options.file)
  if (await portIsFree(options.asked)) return options.asked
  throw new Failure(
    'PORT_IN_USE',
    `${options.server} cannot listen on 127.0.0.1:${options.asked}: the port is taken. Choose another, or end the process that listens there.`,
    { details: { port: options.asked } },
  )
}
