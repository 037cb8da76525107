import type { Consumer, EachBatchPayload, IHeaders, KafkaMessage } from 'kafkajs'
import { Failure, type Logger, backoffMs, pause } from '@likewise/service'
import type { Commits } from './commits.ts'
import { FetchedRecord } from './fetched-record.ts'

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
  /** The first one of its partition since this member was assigned it, or since it had not asked for records for long. */
  isFirst: boolean
  /** The offset the partition's next record will get, as of the fetch. */
  logEnd: bigint
  /** Aborted when this member stops. */
  stopping: AbortSignal
  /** To be called when a part of the batch is done: a long one that gets on is then not taken for a wedged client. */
  gotOn: () => void
}

export interface BatchWork {
  onBatch: (batch: IncomingBatch) => Promise<bigint | undefined>
  fail: (error: unknown) => void
  log: Logger
  stopping: AbortSignal
  /** Aborted when the client is left behind with what it has in hand. */
  gone: AbortSignal
  begun: (batch: IncomingBatch) => void
  gotOn: () => void
  /** An outage keeps the batch waiting; it comes again. */
  waits: () => void
  handled: (batch: IncomingBatch) => void
}

/** Where a batch comes from. */
export interface Place {
  isFirst: boolean
  heartbeatIntervalMs: number
  consumer: Pick<Consumer, 'seek'>
  commits: Commits
}

const backoff = { baseMs: 100, capMs: 5_000, random: Math.random }

/** Asked anew after each wait, which the compiler does not see. */
const isOver = (signal: AbortSignal): boolean => signal.aborted

/** Hands a batch over until it is handled, and has the broker told. Throws only what kafkajs throws, which a fresh client may mend. */
export async function handleIncoming(
  work: BatchWork,
  payload: EachBatchPayload,
  { isFirst, heartbeatIntervalMs, consumer, commits }: Place,
): Promise<void> {
  const { fail, log, stopping } = work
  const { topic, partition } = payload.batch
  let batch: IncomingBatch | undefined
  for (let attempt = 1; ; attempt += 1) {
    if (stopping.aborted || !payload.isRunning() || payload.isStale()) return
    try {
      batch ??= { ...batchOf(payload), isFirst, stopping, gotOn: work.gotOn }
      const handed = batch
      work.begun(handed)
      const beat = { everyMs: heartbeatIntervalMs, gone: work.gone }
      const readFrom = await beating(payload, beat, () => work.onBatch(handed))
      if (readFrom === undefined) break
      consumer.seek({ topic, partition, offset: String(readFrom) })
      return
    } catch (error) {
      if (isOver(stopping)) return // it comes again to whoever has the partition next
      if (!(error instanceof Failure && error.retryable)) {
        fail(error)
        return
      }
      log.warn({ err: error, partition, attempt }, 'batch waits')
      await waitAlive(backoffMs({ attempt, ...backoff }), payload, work)
    }
  }
  work.handled(batch)
  const last = payload.batch.lastOffset()
  payload.resolveOffset(last)
  // Not consumer.commitOffsets, which does nothing, in silence, once a stop has begun: this batch is to be finished.
  commits.note(partition, String(BigInt(last) + 1n), (told) => payload.commitOffsetsIfNecessary(told))
  if (isOver(stopping)) await commits.flush()
  await payload.heartbeat()
  commits.throwFailure()
}

/** A long batch keeps the membership. That the group rebalances meanwhile is heard at the heartbeat after it. */
async function beating<T>(
  payload: EachBatchPayload,
  { everyMs, gone }: { everyMs: number; gone: AbortSignal },
  work: () => Promise<T>,
): Promise<T> {
  const timer = setInterval(() => {
    payload.heartbeat().catch(() => undefined)
  }, everyMs)
  const end = () => {
    clearInterval(timer)
  }
  gone.addEventListener('abort', end)
  try {
    return await work()
  } finally {
    end()
    gone.removeEventListener('abort', end)
  }
}

/** A pause that keeps the membership: short steps with a heartbeat after each. */
async function waitAlive(
  ms: number,
  payload: EachBatchPayload,
  { stopping, waits }: BatchWork,
): Promise<void> {
  for (let left = ms; left > 0 && !stopping.aborted; left -= 1_000) {
    waits()
    await pause(Math.min(left, 1_000), stopping)
    await payload.heartbeat()
  }
  waits()
}

function batchOf({
  batch,
}: EachBatchPayload): Pick<IncomingBatch, 'topic' | 'partition' | 'records' | 'logEnd'> {
  const { topic, partition, messages, highWatermark } = batch
  return { topic, partition, records: messages.map(recordOf), logEnd: BigInt(highWatermark) }
}

/** As the quickened client gives it, or as kafkajs does by itself. */
export function recordOf(message: KafkaMessage | FetchedRecord): IncomingRecord {
  if (message instanceof FetchedRecord) return message
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
  for (const name in headers) if (name in Object.prototype) return withoutInherited(headers)
  return headers
}

function withoutInherited(headers: IHeaders): IncomingRecord['headers'] {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => {
      if (!(name in Object.prototype) || !Array.isArray(value)) return [name, value]
      const own = value.slice(1)
      return [name, own.length === 1 ? own[0] : own]
    }),
  )
}
