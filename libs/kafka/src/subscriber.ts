import type { Consumer, EachBatchPayload, IHeaders, KafkaMessage } from 'kafkajs'
import { Failure, backoffMs, pause } from '@likewise/service'
import { type KafkaOptions, buildKafka } from './client.ts'
import { kafkaFailure } from './failure.ts'

export interface IncomingRecord {
  offset: bigint
  key: string | null
  value: Buffer | null
  /** null: a header without a value; an array: a header that is there several times. */
  headers: Record<string, Buffer | string | null | (Buffer | string | null)[] | undefined>
  timeMs: number
}

export interface IncomingBatch {
  topic: string
  partition: number
  records: IncomingRecord[]
  /** The offset the partition's next record will get, as of the fetch. */
  highWatermark: bigint
  /** Aborted when this member stops. */
  stopping: AbortSignal
}

export interface SubscriberOptions extends KafkaOptions {
  groupId: string
  topic: string
  /** Batches of several partitions handled at the same time. */
  partitionsAtOnceMax: number
  /**
   * Handles a batch completely (its effects are committed when it resolves). A retryable Failure is an outage: the
   * same batch comes again after a pause, the membership is kept. Any other error is a bug and goes to `fail`.
   */
  onBatch: (batch: IncomingBatch) => Promise<void>
  fail: (error: unknown) => void
}

export interface Subscriber {
  /** True while this member belongs to the group. */
  joined(): boolean
  partitions(): number[]
  /** Finishes the batch in hand and leaves the group. */
  stop(): Promise<void>
}

// A member that died is replaced after 10 s (Kafka's default of 45 s is how long its partitions would stand still).
// Short is safe: heartbeats go on while a batch is handled, and a member that slept is fenced by the database.
const sessionTimeoutMs = 10_000
const heartbeatIntervalMs = 1_000
// How long the broker may hold an empty fetch; it bounds how long a stop waits.
const fetchWaitMs = 500
// kafkajs decodes what a fetch brings before the first batch is handled, at about five times its bytes, and asks for
// more when all of it is handled. To drain 100,000 records, 10 MB a fetch and 1 MB a partition (its defaults) took
// 384 MB of memory, 10 MB and 512 KiB 215 MB at 37,700/s, these two 140 MB at 32,900/s, half a megabyte 142 MB at
// 27,300/s. A send of 1,000 likes is one record batch of 400 KB: one batch always comes, however large.
const fetchBytes = 1_048_576
const fetchBytesPerPartition = 524_288
const backoff = { baseMs: 100, capMs: 5_000, random: Math.random }

/**
 * A member of a consumer group that stays one: whatever crashes, it starts again with a fresh client, for ever.
 * (kafkajs restarts itself too, but may wedge in between. One that wedges without a crash is not noticed here.) Where the group
 * has no offset, or the broker no longer has it, reading starts at the beginning: never at the end, which would skip.
 */
export function subscribe(options: SubscriberOptions): Subscriber {
  const { log } = options
  const stopping = new AbortController()
  let assigned: number[] = []
  let joined = false
  let attempt = 0
  const work: BatchWork = {
    ...options,
    stopping: stopping.signal,
    onHandled: () => (attempt = 0),
    fail(error) {
      stopping.abort() // or the same batch would come again, and the same bug
      options.fail(error)
    },
  }

  async function session(): Promise<void> {
    const consumer = buildMember(options)
    const over = endOf(consumer, stopping.signal)
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      joined = true
      assigned = payload.memberAssignment[options.topic] ?? []
      log.info({ partitions: assigned }, 'partitions assigned')
    })
    consumer.on(consumer.events.REBALANCING, () => {
      joined = false
    })
    try {
      await consumer.connect()
      await consumer.subscribe({ topic: options.topic, fromBeginning: true })
      await consumer.run({
        autoCommit: false,
        eachBatchAutoResolve: false,
        partitionsConsumedConcurrently: options.partitionsAtOnceMax,
        eachBatch: (payload) => handle(work, payload),
      })
      const error = await over.ended
      if (error !== undefined) throw kafkaFailure(error)
    } finally {
      over.forget()
      joined = false
      assigned = []
      await consumer.disconnect().catch(() => undefined)
    }
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        await session()
      } catch (error) {
        attempt += 1
        log.warn({ err: error, attempt }, 'consumer starts again')
        await pause(backoffMs({ attempt, ...backoff }), stopping.signal)
      }
    }
  }

  const running = run()
  return {
    joined: () => joined,
    partitions: () => assigned,
    async stop() {
      stopping.abort()
      await running
    },
  }
}

function buildMember(options: SubscriberOptions): Consumer {
  return buildKafka(options).consumer({
    groupId: options.groupId,
    sessionTimeout: sessionTimeoutMs,
    heartbeatInterval: heartbeatIntervalMs,
    maxWaitTimeInMs: fetchWaitMs,
    maxBytes: fetchBytes,
    maxBytesPerPartition: fetchBytesPerPartition,
    allowAutoTopicCreation: false,
    retry: {
      retries: 3,
      initialRetryTime: 100,
      maxRetryTime: 1_000,
      restartOnFailure: () => Promise.resolve(false),
    },
  })
}

/** `ended` resolves to the error of a crash, or to undefined at a stop. */
function endOf(consumer: Consumer, stopping: AbortSignal): { ended: Promise<unknown>; forget: () => void } {
  let end: (error?: unknown) => void = () => undefined
  const ended = new Promise<unknown>((resolve) => (end = resolve))
  const onStop = () => {
    end()
  }
  stopping.addEventListener('abort', onStop)
  if (stopping.aborted) end()
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    end(payload.error)
  })
  return {
    ended,
    forget: () => {
      stopping.removeEventListener('abort', onStop)
    },
  }
}

interface BatchWork extends Pick<SubscriberOptions, 'onBatch' | 'fail' | 'log'> {
  stopping: AbortSignal
  onHandled: () => void
}

/** Throws only what kafkajs throws, which a fresh client may mend. */
async function handle(
  { onBatch, onHandled, fail, log, stopping }: BatchWork,
  payload: EachBatchPayload,
): Promise<void> {
  const { batch } = payload
  const { topic, partition } = batch
  let incoming: IncomingBatch | undefined
  for (let attempt = 1; ; attempt += 1) {
    if (stopping.aborted || !payload.isRunning() || payload.isStale()) return
    try {
      incoming ??= {
        topic,
        partition,
        records: batch.messages.map(recordOf),
        highWatermark: BigInt(batch.highWatermark),
        stopping,
      }
      const handed = incoming
      await beating(payload, () => onBatch(handed))
      break
    } catch (error) {
      if (!(error instanceof Failure && error.retryable)) {
        fail(error)
        return
      }
      log.warn({ err: error, partition, attempt }, 'batch waits')
      await waitAlive(backoffMs({ attempt, ...backoff }), payload, stopping)
    }
  }
  onHandled()
  const last = batch.lastOffset()
  payload.resolveOffset(last)
  // Not consumer.commitOffsets, which does nothing, in silence, once a stop has begun: this batch is to be finished.
  const offset = String(BigInt(last) + 1n)
  await payload.commitOffsetsIfNecessary({ topics: [{ topic, partitions: [{ partition, offset }] }] })
  await payload.heartbeat()
}

/** A long batch keeps the membership. That the group rebalances meanwhile is heard at the heartbeat after it. */
async function beating(payload: EachBatchPayload, work: () => Promise<void>): Promise<void> {
  const timer = setInterval(() => {
    payload.heartbeat().catch(() => undefined)
  }, heartbeatIntervalMs)
  try {
    await work()
  } finally {
    clearInterval(timer)
  }
}

/** A pause that keeps the membership: short steps with a heartbeat after each. */
async function waitAlive(ms: number, payload: EachBatchPayload, stopping: AbortSignal): Promise<void> {
  for (let left = ms; left > 0 && !stopping.aborted; left -= 1_000) {
    await pause(Math.min(left, 1_000), stopping)
    await payload.heartbeat()
  }
}

function recordOf(message: KafkaMessage): IncomingRecord {
  return {
    offset: BigInt(message.offset),
    key: message.key === null ? null : message.key.toString('utf8'),
    value: message.value,
    headers: headersOf(message.headers ?? {}),
    timeMs: Number(message.timestamp),
  }
}

/** kafkajs takes what every object inherits (`constructor`, `toString`, …) for the first value of a repeated header. */
function headersOf(headers: IHeaders): IncomingRecord['headers'] {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => {
      if (!(name in Object.prototype) || !Array.isArray(value)) return [name, value]
      const own = value.slice(1)
      return [name, own.length === 1 ? own[0] : own]
    }),
  )
}
