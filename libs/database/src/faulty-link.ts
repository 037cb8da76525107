import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'

export type FaultyLink = {
  url: string
  /** Nothing passes any more, in either direction, and nobody is told: a partition, or a server that sleeps. */
  freeze: () => void
  /** Closes what is open and works again. */
  heal: () => void
  stop: () => Promise<void>
}

/** A TCP link to the server of `url` that can fall silent. */
export async function faultyLink(url: string): Promise<FaultyLink> {
  const target = new URL(url)
  const open = new Set<Socket>()
  let frozen = false
  const server = createServer((client) => {
    const upstream = connect(Number(target.port || '5432'), target.hostname)
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(from)
      from.on('data', (chunk) => {
        if (!frozen) to.write(chunk)
      })
      from.on('error', () => to.destroy())
      from.on('close', () => {
        open.delete(from)
        if (!frozen) to.destroy()
      })
    }
  })
  const closeAll = (): void => {
    for (const socket of open) socket.destroy()
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const link = new URL(url)
  link.hostname = '127.0.0.1'
  link.port = String((server.address() as AddressInfo).port)
  return {
    url: link.href,
    freeze: () => {
      frozen = true
    },
    heal: () => {
      frozen = false
      closeAll()
    },
    stop: async () => {
      closeAll()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
