import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net'
import { type KafkaOptions, buildKafka } from './client.ts'

/** A way to a broker that can be cut. */
export interface Link {
  address: string
  /** Cuts all connections and takes no new ones. */
  close(): Promise<void>
  /** Takes connections again, at the same port as before. */
  open(): Promise<void>
  /** Takes connections and passes nothing on, in either direction. */
  hush(): void
  /** Passes requests on, and keeps the answers back, on the connections that are open. */
  hushBroker(): void
  /** Passes on what was kept back, and what comes. */
  speak(): void
  /** Passes on no request of these kinds (Kafka's api keys), as if the broker never answered them; none: all again. */
  swallow(...apiKeys: number[]): void
  /** Bytes that have come from the broker so far. */
  answered(): number
}

/**
 * The broker tells clients its own address, to which they would go past the link: wherever it stands in an answer, the
 * link's port stands instead, at the same host. Kafka writes a port in four bytes, so nothing else has to change.
 */
export async function openLink(broker: string): Promise<Link> {
  const [host = '', port = ''] = broker.split(':')
  const clients = new Set<Socket>()
  const upstreams = new Set<Socket>()
  let silent = false
  let swallowed = new Set<number>()
  let server: Server | undefined
  let [own, answered] = [0, 0]

  function keep(socket: Socket, all: Set<Socket>): Socket {
    all.add(socket)
    if (silent) socket.pause()
    return socket.on('close', () => all.delete(socket)).on('error', () => undefined)
  }

  function pass(client: Socket): void {
    keep(client, clients)
    const upstream = keep(connect(Number(port), host), upstreams)
    const requests = framed((request) => {
      if (!swallowed.has(request.readInt16BE(4))) upstream.write(request)
    })
    client.on('data', requests).on('close', () => upstream.destroy())
    upstream
      .on('data', (bytes) => {
        answered += bytes.length
        client.write(readdressed(bytes, { host, port: Number(port), own }))
      })
      .on('close', () => client.end())
    if (silent) for (const socket of [client, upstream]) socket.pause()
  }

  async function listen(): Promise<void> {
    const made = createServer(pass)
    server = made
    await new Promise<void>((resolve) => made.listen(own, host, resolve))
    own = (made.address() as AddressInfo).port
  }

  const each = (work: (socket: Socket) => void) => {
    for (const socket of [...clients, ...upstreams]) work(socket)
  }
  await listen()
  return {
    address: `${host}:${String(own)}`,
    async close() {
      each((socket) => socket.destroy())
      await new Promise((resolve) => server?.close(resolve))
    },
    open: listen,
    hush() {
      silent = true
      each((socket) => socket.pause())
    },
    hushBroker() {
      for (const socket of upstreams) socket.pause()
    },
    speak() {
      silent = false
      each((socket) => socket.resume())
    },
    swallow(...apiKeys) {
      swallowed = new Set(apiKeys)
    },
    answered: () => answered,
  }
}

/** Cuts a stream into Kafka's requests, each with its length in front. */
function framed(take: (request: Buffer) => void): (bytes: Buffer) => void {
  let rest = Buffer.alloc(0)
  return (bytes) => {
    rest = Buffer.concat([rest, bytes])
    while (rest.length >= 4 && rest.length >= 4 + rest.readInt32BE(0)) {
      const end = 4 + rest.readInt32BE(0)
      take(rest.subarray(0, end))
      rest = rest.subarray(end)
    }
  }
}

function readdressed(
  bytes: Buffer,
  { host, port, own }: { host: string; port: number; own: number },
): Buffer {
  const [from, to] = [port, own].map((one) => {
    const written = Buffer.alloc(host.length + 4)
    written.write(host)
    written.writeInt32BE(one, host.length)
    return written
  }) as [Buffer, Buffer]
  for (let at = bytes.indexOf(from); at >= 0; at = bytes.indexOf(from, at)) to.copy(bytes, at)
  return bytes
}

/** Takes the records before these offsets away, as retention does. */
export async function cutLog(
  options: KafkaOptions,
  topic: string,
  partitions: readonly { partition: number; offset: string }[],
): Promise<void> {
  const admin = buildKafka(options).admin()
  await admin.connect()
  try {
    await admin.fetchTopicMetadata({ topics: [topic] }) // this client cuts no topic that it has not heard of
    await admin.deleteTopicRecords({ topic, partitions: [...partitions] })
  } finally {
    await admin.disconnect()
  }
}
