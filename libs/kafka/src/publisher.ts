import { Failure, within } from '@likewise/service'
import type { KafkaOptions } from './client.ts'
import type { Connection, OutgoingRecord, Position, TopicBatch } from './connection.ts'
import { kafkaFailure } from './failure.ts'
import { connectKafkajs } from './kafkajs-connection.ts'

export interface Publisher {
  /**
   * Sends the records with acks=all, in order per key, and resolves when the broker has acknowledged all of them, with
   * the position of the first one in each partition. Rejects with BROKER_UNAVAILABLE (outage: some may have arrived) or
   * EVENT_REFUSED (at least one of them is refused; the others may have arrived), within `sendLimitMs`.
   */
  publish(records: readonly OutgoingRecord[]): Promise<readonly Position[]>
  /** Resolves when a broker answers; rejects with BROKER_UNAVAILABLE, within `sendLimitMs`. */
  ping(): Promise<void>
  /** Lets the sends under way settle, takes no further ones (BROKER_UNAVAILABLE), and closes the connections. */
  stop(): Promise<void>
}

/** The libraries that can send; all else (reading, topics) is kafkajs. */
export type KafkaClient = 'kafkajs' | 'platformatic'

export interface PublisherOptions extends KafkaOptions {
  /** kafkajs where it is left out. */
  client?: KafkaClient
  sendLimitMs: number
}

/** A connection, perhaps still being made, and what is on its way over it. */
interface Line {
  readonly connection: Promise<Connection>
  readonly sends: Set<Promise<unknown>>
}

const clients: Record<KafkaClient, (options: KafkaOptions) => Promise<Connection>> = {
  kafkajs: connectKafkajs,
  // Loaded by whoever wants it: it takes half a second and 35 MB.
  platformatic: async (options) =>
    (await import('./platformatic-connection.ts')).connectPlatformatic(options),
}

// A request beyond the broker's socket.request.max.bytes (100 MiB unless set) is not answered: the broker cuts the
// connection, which looks like an outage and would be tried again for ever.
const sendBytesMax = 67_108_864

/**
 * A producer that connects when it is first used, and is replaced after a failure.
 *
 * Not an idempotent producer, on purpose: kafkajs gives the sequence numbers of a send that failed to the next one,
 * also where that carries other records (the shard was lost meanwhile, or regained); a broker that had stored the
 * first then takes the second for its duplicate and acknowledges what it never stores. Duplicates are harmless
 * here, a loss is not. Order needs no sequence numbers either: a shard has one send in flight.
 */
export function buildPublisher({ client = 'kafkajs', ...options }: PublisherOptions): Publisher {
  const open = new Set<Line>()
  let line: Line | null = null
  let stopped = false

  function requireRunning(): void {
    if (stopped) throw new Failure('BROKER_UNAVAILABLE', 'The publisher is stopped.')
  }

  function openLine(): Line {
    const opened = { connection: clients[client](options), sends: new Set<Promise<unknown>>() }
    open.add(opened)
    return opened
  }

  /** A client that failed once may be wedged; a new one costs milliseconds. Other sends over the old one may end. */
  async function retire(old: Line): Promise<void> {
    if (line === old) line = null
    await Promise.allSettled(old.sends)
    await old.connection.then((connection) => connection.close()).catch(() => undefined)
    open.delete(old)
  }

  /** A client may wait longer than its own time-outs say (a queue of requests, a connection that never opens). */
  const inTime = <T>(work: Promise<T>): Promise<T> =>
    within(
      options.sendLimitMs,
      work,
      () => new Failure('BROKER_UNAVAILABLE', `Kafka has not answered within ${options.sendLimitMs} ms.`),
    )

  return {
    async publish(records) {
      if (records.length === 0) return []
      requireRunning()
      requireSendable(records)
      const used = (line ??= openLine())
      const answer = inTime(used.connection.then((connection) => connection.send(byTopic(records))))
      used.sends.add(answer)
      try {
        return await answer
      } catch (error) {
        const failure = kafkaFailure(error)
        if (failure.retryable) void retire(used)
        throw failure
      } finally {
        used.sends.delete(answer)
      }
    },
    async ping() {
      requireRunning()
      const fresh = openLine()
      try {
        await inTime(fresh.connection)
      } catch (error) {
        throw kafkaFailure(error)
      } finally {
        void retire(fresh)
      }
    },
    async stop() {
      stopped = true
      await Promise.allSettled([...open].flatMap(({ sends }) => [...sends]))
      // What does not close in time is left to its own time-outs.
      await inTime(Promise.all([...open].map(retire))).catch(() => undefined)
    },
  }
}

function requireSendable(records: readonly OutgoingRecord[]): void {
  let units = 0
  for (const { key, value, headers } of records) {
    units += (key?.length ?? 0) + (value?.length ?? 0)
    // Not Object.entries: this runs for every header of every record.
    for (const name in headers) {
      // Types say text, but they come from a database's JSON; a client would throw what looks like a bug of ours.
      const header: unknown = headers[name]
      if (typeof header === 'string') units += name.length + header.length
      else
        for (const bytes of Array.isArray(header) ? (header as unknown[]) : [header]) {
          if (typeof bytes !== 'string' && !Buffer.isBuffer(bytes))
            throw new Failure(
              'EVENT_REFUSED',
              `A record is refused: its header ${name} is not a text, but ${typeof bytes}.`,
            )
          units += name.length + bytes.length
        }
    }
  }
  // A unit of a text is three bytes at most: only what may be too large is counted exactly.
  if (3 * units <= sendBytesMax) return
  const bytes = records.reduce((sum, record) => sum + bytesOf(record), 0)
  if (bytes <= sendBytesMax) return
  throw new Failure(
    'EVENT_REFUSED',
    `A send of ${bytes} bytes in ${records.length} record(s) is refused: a broker would cut the connection, and more ` +
      `than ${sendBytesMax} are never tried.`,
  )
}

function bytesOf({ key, value, headers }: OutgoingRecord): number {
  let bytes = Buffer.byteLength(key ?? '') + Buffer.byteLength(value ?? '')
  for (const [name, header] of Object.entries(headers))
    for (const one of Array.isArray(header) ? header : [header])
      bytes += Buffer.byteLength(name) + Buffer.byteLength(one)
  return bytes
}

function byTopic(records: readonly OutgoingRecord[]): TopicBatch[] {
  const topics = new Map<string, OutgoingRecord[]>()
  for (const record of records) {
    const list = topics.get(record.topic)
    if (list) list.push(record)
    else topics.set(record.topic, [record])
  }
  return [...topics].map(([topic, batch]) => ({ topic, records: batch }))
}
