import { type Socket, connect } from 'node:net'
import { type ISocketFactory, Partitioners } from 'kafkajs'
import { type KafkaOptions, buildKafka } from './client.ts'
import type { Connection } from './connection.ts'

/** Resolves when a broker has answered. */
export async function connectKafkajs(options: KafkaOptions): Promise<Connection> {
  const sockets = keepSockets()
  const producer = buildKafka(options, sockets.open).producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    allowAutoTopicCreation: false,
    metadataMaxAge: 60_000,
  })
  const close = async () => {
    sockets.destroy()
    await producer.disconnect()
  }
  try {
    await producer.connect()
  } catch (error) {
    void close().catch(() => undefined) // or its half-open socket stays
    throw error
  }
  return {
    async send(batches) {
      const topicMessages = batches.map(({ topic, records }) => ({ topic, messages: [...records] }))
      const answers = await producer.sendBatch({ acks: -1, topicMessages })
      return answers.map(({ topicName, partition, baseOffset }) => ({
        topic: topicName,
        partition,
        // -1 is Kafka's own word for an offset that is not told, which no broker since 0.11 does
        baseOffset: BigInt(baseOffset ?? -1),
      }))
    },
    close,
  }
}

/**
 * Sockets as kafkajs would make them, but at hand: it waits for the answers that are missing and then only ends a socket,
 * which stays for as long as a broker that is wedged reads nothing. A send that failed also makes it connect anew.
 */
function keepSockets(): { open: ISocketFactory; destroy(): void } {
  const sockets = new Set<Socket>()
  let over = false
  // With an error, of which kafkajs takes notice: it rejects what waits for an answer.
  const destroy = (socket: Socket) => socket.destroy(new Error('The connection is closed.'))
  return {
    open({ host, port, onConnect }) {
      const socket = connect({ host, port }, onConnect).setKeepAlive(true, 60_000)
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
      return over ? destroy(socket) : socket
    },
    destroy() {
      over = true
      for (const socket of sockets) destroy(socket)
    },
  }
}
