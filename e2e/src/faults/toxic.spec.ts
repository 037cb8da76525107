import { once } from 'node:events'
import { type AddressInfo, type Socket, connect, createServer } from 'node:net'
import { pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { eventually } from '../system.ts'
import { type Link, openLink } from './link.ts'

let link: Link
let stopEcho: () => Promise<unknown>
beforeEach(async () => {
  const echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket)).listen(
    0,
    '127.0.0.1',
  )
  await once(echo, 'listening')
  link = await openLink(`127.0.0.1:${String((echo.address() as AddressInfo).port)}`)
  stopEcho = () => new Promise((resolve) => echo.close(resolve))
})
afterEach(async () => {
  await link.stop()
  await stopEcho()
})

async function open(): Promise<Socket> {
  const [host = '', port = ''] = link.address.split(':')
  const socket = connect(Number(port), host).on('error', () => undefined)
  await once(socket, 'connect')
  return socket
}

const closed = (socket: Socket) => eventually(async () => socket.destroyed)

/** Sends so many bytes. @returns what came back, how long that took, and how the connection ended, if it did. */
async function echoed(socket: Socket, bytes: number, withinMs = 2_000) {
  const begunMs = performance.now()
  let [came, chunks] = [0, 0]
  const chunk = (data: Buffer): void => {
    came += data.length
    chunks += 1
  }
  socket.on('data', chunk)
  let ended: string | undefined
  socket
    .once('error', ({ code = '' }: NodeJS.ErrnoException) => (ended = code))
    .once('close', () => (ended ??= 'closed'))
  if (!socket.destroyed) socket.write(Buffer.alloc(bytes))
  while (came < bytes && ended === undefined && performance.now() - begunMs < withinMs) await pause(5)
  socket.off('data', chunk)
  return { came, chunks, ended, ms: performance.now() - begunMs }
}

describe('a link', () => {
  it('with latency keeps each chunk back, in both directions', async () => {
    link.poison({ kind: 'latency', ms: 100, jitterMs: 0 })
    const { came, ms } = await echoed(await open(), 10)
    expect(came).toBe(10)
    expect(ms).toBeGreaterThan(190)
  })

  it('with little bandwidth takes its time', async () => {
    link.poison({ kind: 'bandwidth', bytesPerSecond: 10_000 })
    const { came, ms } = await echoed(await open(), 1_000)
    expect(came).toBe(1_000)
    expect(ms).toBeGreaterThan(190)
  })

  it('with a slicer passes everything on in small parts', async () => {
    link.poison({ kind: 'slicer', bytes: 10, pauseMs: 5 })
    const { came, chunks } = await echoed(await open(), 100)
    expect(came).toBe(100)
    expect(chunks).toBeGreaterThan(5)
  })

  it('with a timeout says nothing more, and is closed after it', async () => {
    const socket = await open()
    link.poison({ kind: 'timeout', ms: 200 })
    const { came, ended, ms } = await echoed(socket, 10)
    expect([came, ended]).toEqual([0, 'closed'])
    expect(ms).toBeGreaterThan(150)
  })

  it('with reset_peer resets connections that are open, and those that come', async () => {
    const socket = await open()
    link.poison({ kind: 'reset_peer', ms: 50 })
    await closed(socket)
    const later = await open()
    expect(later.destroyed).toBe(false)
    await closed(later)
  })

  it('with limit_data closes a connection after so much', async () => {
    link.poison({ kind: 'limit_data', bytes: 50 })
    const socket = await open()
    expect(await echoed(socket, 40)).toMatchObject({ came: 40, ended: undefined })
    expect((await echoed(socket, 40)).ended).toBeDefined()
  })

  it('that is down resets who comes, and works again when it is up', async () => {
    link.poison({ kind: 'down' })
    await closed(await open())
    link.poison(null)
    expect(await echoed(await open(), 10)).toMatchObject({ came: 10 })
  })
})
