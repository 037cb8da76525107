import { Partitioners } from 'kafkajs'
import { type KafkaOptions, buildKafka } from './client.ts'
import type { Connection } from './connection.ts'
import { keepSockets } from './sockets.ts'

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
