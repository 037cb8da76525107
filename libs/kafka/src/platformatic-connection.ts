import { isIP } from 'node:net'
import { type Partitioner, ProduceAcks, Producer, compatibilityPartitioner } from '@platformatic/kafka'
import { type KafkaOptions, connectTimeoutMs } from './client.ts'
import type { Connection, OutgoingRecord } from './connection.ts'

/** Resolves when a broker has answered. */
export async function connectPlatformatic(options: KafkaOptions): Promise<Connection> {
  const producer: BytesProducer = new Producer({
    clientId: options.clientId,
    bootstrapBrokers: [...options.brokers],
    ...platformaticAccess(options),
    connectTimeout: connectTimeoutMs(options),
    requestTimeout: options.requestTimeoutMs,
    timeout: options.requestTimeoutMs,
    retries: 0,
    // A second try by itself goes to the new leader of the first record's partition, with the records of all partitions.
    repeatOnStaleMetadata: false,
    autocreateTopics: false,
    // Of its own it keeps back the sixth request until a first one is answered: a page would then go out whenever that is,
    // also after the lease it was sent under. Who calls bounds what is on its way.
    maxInflights: 1_000,
    metadataMaxAge: 60_000,
    partitioner: buildPartitioner(),
  })
  try {
    await producer.metadata({ topics: [] })
  } catch (error) {
    await close(producer)
    throw error
  }
  return {
    async send(batches) {
      // A send per topic: the client forgets what it knows of all topics when one of them has no leader, and would then
      // stumble over the others outside of any promise, which ends the process. All are waited for, also after a
      // failure: what is still on its way must not be overtaken by the next try.
      const sends = await Promise.allSettled(
        batches.map(({ topic, records }) =>
          producer.send({
            acks: ProduceAcks.ALL,
            messages: records.map((record) => messageOf(topic, record)),
          }),
        ),
      )
      const errors = sends.flatMap((send) => (send.status === 'rejected' ? [send.reason as Error] : []))
      if (errors.length > 0) throw new AggregateError(errors, 'Not all topics have taken their records.')
      return sends.flatMap((send) =>
        send.status === 'rejected'
          ? []
          : (send.value.offsets ?? []).map(({ offset, ...at }) => ({ ...at, baseOffset: offset })),
      )
    },
    close: () => close(producer),
  }
}

/** How to get in, in this client's words. */
export function platformaticAccess({ brokers, tls, sasl }: KafkaOptions) {
  // An address is not sent as a name (RFC 6066); the certificate is compared with it all the same.
  const tlsServerName = brokers.every((broker) => isIP(addressOf(broker).host) === 0)
  return {
    ...(tls && { tls: { ...tls }, tlsServerName }),
    ...(sasl && { sasl: { ...sasl, mechanism: mechanisms[sasl.mechanism] } }),
  }
}

/** Of `host:port`, where an address of IPv6 stands in brackets. */
export function addressOf(broker: string): { host: string; port: number } {
  const colon = broker.lastIndexOf(':')
  return { host: broker.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(broker.slice(colon + 1)) }
}

const mechanisms = {
  'scram-sha-512': 'SCRAM-SHA-512',
  'scram-sha-256': 'SCRAM-SHA-256',
  plain: 'PLAIN',
} as const

type BytesProducer = Producer<Buffer | undefined, Buffer | null>

const messageOf = (topic: string, { key, value, headers }: OutgoingRecord) => ({
  topic,
  ...(key === null ? {} : { key: Buffer.from(key) }),
  value: typeof value === 'string' ? Buffer.from(value) : value,
  headers: new Map(
    Object.entries(headers).flatMap(([name, header]) =>
      Array.isArray(header)
        ? // Names of their own: the map tells them apart by identity.
          header.map((one) => [Buffer.from(name), bytesOf(one)] as const)
        : [[nameBytes(name), bytesOf(header)] as const],
    ),
  ),
})

const bytesOf = (value: string | Buffer): Buffer => (typeof value === 'string' ? Buffer.from(value) : value)

const knownNamesMax = 100
const knownNames = new Map<string, Buffer>()

/** Nearly all records have the same header names. */
function nameBytes(name: string): Buffer {
  const known = knownNames.get(name)
  if (known !== undefined) return known
  const bytes = Buffer.from(name)
  if (knownNames.size < knownNamesMax) knownNames.set(name, bytes)
  return bytes
}

/** Its own default keeps the sign bit, so most keys would change their partition (platformatic/kafka#121). */
function buildPartitioner(): Partitioner<Buffer | undefined, Buffer | null, Buffer, Buffer> {
  let keyless = 0
  return (message, key) => (key === undefined ? keyless++ : compatibilityPartitioner(message, key))
}

/** Destroys the sockets: left to itself the client waits until a peer that reads nothing has taken what was written. */
async function close(producer: BytesProducer): Promise<void> {
  const sockets = [...producer.connections].map(([, connection]) => connection.socket)
  const closed = producer.close()
  for (const socket of sockets) socket.destroy()
  await closed
}
