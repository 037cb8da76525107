import { once } from 'node:events'
import { type AddressInfo, type Socket, connect, createServer } from 'node:net'
import { pause } from '@likewise/service'
import { type Toxic, delayOf, endingOf, slicesOf } from './toxic.ts'

/** Seen from the client: `up` are its requests, `down` the server's answers. */
type Direction = 'up' | 'down'

/** A TCP way to PostgreSQL or to a Kafka broker that can be made to misbehave. */
export interface Link {
  /** `host:port` */
  readonly address: string
  /** Takes connections and keeps back what goes in this direction; nobody is told. */
  hold(...directions: Direction[]): void
  /** How much was kept back since the first hold. */
  keptBytes(): number
  /** Passes on what was kept back, and what comes. */
  release(): void
  /** Each chunk takes so long, in each direction. */
  delay(ms: number): void
  /** Resets the connection that sends the nth byte from now on, in the middle of what it was sending. */
  resetAfter(bytes: number): Promise<void>
  /** Does this to all connections, also those that come, until it is told something else; null: nothing any more. */
  poison(toxic: Toxic | null): void
  /** Cuts all connections and takes no new ones. */
  stop(): Promise<void>
}

/**
 * A broker tells clients its own address, to which they would go past the link: wherever it stands in an answer, the
 * link's port stands instead, at the same host. Kafka writes a port in four bytes, so nothing else has to change.
 */
export async function openLink(target: string): Promise<Link> {
  const [host = '', port = ''] = target.split(':')
  const sockets = new Set<Socket>()
  const gates = { up: openGate(), down: openGate() }
  const poisoning = buildPoisoning(sockets)
  let delayMs = 0
  let kept = 0
  let reset: { left: number; done: () => void } | undefined

  function keep(socket: Socket, other: () => Socket): Socket {
    sockets.add(socket)
    return socket
      .on('error', () => undefined)
      .on('close', () => {
        sockets.delete(socket)
        other().destroy()
      })
  }

  /** What came first goes first, however long it is kept. */
  function pipe(direction: Direction, { from, to }: Ends, change: (bytes: Buffer) => Buffer): void {
    let last = Promise.resolve()
    from.on('data', (bytes) => {
      const dueMs = performance.now() + delayMs
      if (gates[direction].isClosed()) kept += bytes.length
      last = last.then(async () => {
        if (dueMs > performance.now()) await pause(dueMs - performance.now())
        await gates[direction].opened()
        const passed = change(bytes)
        await poisoning.pass(passed, { from, to })
        if (passed.length < bytes.length) from.resetAndDestroy()
      })
    })
  }

  function upToReset(bytes: Buffer): Buffer {
    if (reset === undefined) return bytes
    const { left, done } = reset
    reset.left -= bytes.length
    if (reset.left > 0) return bytes
    reset = undefined
    done()
    return bytes.subarray(0, Math.min(left, bytes.length - 1))
  }

  const server = createServer((client) => {
    const upstream = connect(Number(port), host)
    keep(client, () => upstream)
    keep(upstream, () => client)
    poisoning.meet(client)
    pipe('up', { from: client, to: upstream }, upToReset)
    pipe('down', { from: upstream, to: client }, (bytes) => readdressed(bytes, { host, from: Number(port), to: own })) // prettier-ignore
  })
  server.listen(0, host)
  await once(server, 'listening')
  const own = (server.address() as AddressInfo).port
  return {
    address: `${host}:${String(own)}`,
    hold: (...directions) => {
      for (const direction of directions) gates[direction].close()
    },
    keptBytes: () => kept,
    release: () => {
      for (const gate of Object.values(gates)) gate.open()
    },
    delay: (ms) => void (delayMs = ms),
    poison: (toxic) => poisoning.set(toxic),
    resetAfter: (bytes) => new Promise((done) => (reset = { left: bytes, done })),
    async stop() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

interface Ends {
  from: Socket
  to: Socket
}

/** The toxic of a link, and what it does to the connections there are and those that come. */
function buildPoisoning(sockets: ReadonlySet<Socket>) {
  let toxic: Toxic | null = null
  let passed = new WeakMap<Socket, number>()

  function meet(socket: Socket): void {
    const ending = endingOf(toxic)
    const of = toxic
    if (ending === null) return
    const timer = setTimeout(() => {
      if (toxic === of) end(socket, ending.by)
    }, ending.afterMs)
    socket.once('close', () => {
      clearTimeout(timer)
    })
  }
  return {
    meet,
    set(next: Toxic | null): void {
      // What was swallowed is missing from the stream: nothing that comes after it may arrive.
      if (toxic?.kind === 'timeout') for (const socket of sockets) end(socket, 'close')
      toxic = next
      passed = new WeakMap()
      for (const socket of sockets) meet(socket)
    },
    async pass(bytes: Buffer, { from, to }: Ends): Promise<void> {
      const delayMs = delayOf(toxic, bytes.length, Math.random())
      if (delayMs > 0) await pause(delayMs)
      for (const slice of slicesOf(toxic, bytes)) {
        if (toxic?.kind === 'timeout' || to.destroyed) return
        to.write(slice)
        if (toxic?.kind === 'slicer') await pause(toxic.pauseMs)
        const sum = (passed.get(from) ?? 0) + slice.length
        passed.set(from, sum)
        if (toxic?.kind === 'limit_data' && sum >= toxic.bytes) end(from, 'close')
      }
    },
  }
}

function end(socket: Socket, by: 'reset' | 'close'): void {
  if (by === 'reset') socket.resetAndDestroy()
  else socket.destroy()
}

function openGate() {
  let opened = Promise.resolve()
  let open = (): void => undefined
  let isOpen = true
  return {
    opened: () => opened,
    isClosed: () => !isOpen,
    open: () => {
      isOpen = true
      open()
    },
    close: () => {
      if (!isOpen) return
      isOpen = false
      opened = new Promise((resolve) => (open = resolve))
    },
  }
}

function readdressed(bytes: Buffer, { host, from, to }: { host: string; from: number; to: number }): Buffer {
  const written = (port: number): Buffer => {
    const address = Buffer.alloc(host.length + 4)
    address.write(host)
    address.writeInt32BE(port, host.length)
    return address
  }
  for (let at = bytes.indexOf(written(from)); at >= 0; at = bytes.indexOf(written(from), at)) {
    written(to).copy(bytes, at)
  }
  return bytes
}
