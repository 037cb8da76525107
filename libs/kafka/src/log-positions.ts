import type { Admin } from 'kafkajs'
import { Failure, within } from '@likewise/service'
import { type KafkaOptions, buildKafka } from './client.ts'
import { kafkaFailure } from './failure.ts'
import type { LogPosition } from './progress.ts'
import { type Sockets, keepSockets } from './sockets.ts'

/**
 * Asks the broker for a topic's ends and how far a group is, over a connection that is kept and made anew after a
 * failure. It is not the reading client's: whether Kafka is away or that client wedged is told by this one.
 */
export function buildLogPositions(options: KafkaOptions & { topic: string; groupId: string }) {
  const { topic, groupId, requestTimeoutMs } = options
  let open: { admin: Admin; sockets: Sockets } | undefined
  let over = false

  async function connect(): Promise<Admin> {
    if (open) return open.admin
    const sockets = keepSockets()
    const admin = buildKafka(options, sockets.open).admin()
    open = { admin, sockets }
    await admin.connect()
    return admin
  }

  async function read(): Promise<LogPosition[]> {
    const admin = await connect()
    // In this order: a client that has seen no broker yet does not look for the group's.
    const ends = await admin.fetchTopicOffsets(topic)
    const [offsets] = await admin.fetchOffsets({ groupId, topics: [topic] })
    const committed = new Map(
      offsets?.partitions.map(({ partition, offset }) => [partition, BigInt(offset)]) ?? [],
    )
    return ends.map(({ partition, low, high }) => {
      const told = committed.get(partition) ?? -1n
      return { partition, start: BigInt(low), end: BigInt(high), committed: told < 0n ? null : told }
    })
  }

  async function close(): Promise<void> {
    const last = open
    open = undefined
    last?.sockets.destroy()
    await last?.admin.disconnect().catch(() => undefined)
  }

  return {
    async read(): Promise<LogPosition[]> {
      // Whoever asks at the very end would open a connection that nobody closes.
      if (over) throw new Failure('BROKER_UNAVAILABLE', 'Nothing is asked any more: this client was stopped.')
      try {
        return await within(
          2 * requestTimeoutMs,
          read(),
          () => new Failure('BROKER_UNAVAILABLE', 'Kafka does not tell the ends of the log in time.'),
        )
      } catch (error) {
        void close()
        throw kafkaFailure(error)
      }
    },
    /** For good. */
    stop(): Promise<void> {
      over = true
      return close()
    },
  }
}

/** The same, asked once. */
export async function readGroupPositions(
  options: KafkaOptions,
  topic: string,
  groupId: string,
): Promise<LogPosition[]> {
  const positions = buildLogPositions({ ...options, topic, groupId })
  try {
    return await positions.read()
  } finally {
    await positions.stop()
  }
}
