import { setMaxListeners } from 'node:events'
import type { Consumer } from 'kafkajs'
import { type Failure, pause } from '@likewise/service'
import { type BatchWork, handleIncoming } from './batch.ts'
import { type KafkaOptions, buildKafka } from './client.ts'
import { type Commits, buildCommits } from './commits.ts'
import { kafkaFailure } from './failure.ts'
import { orGone } from './or-gone.ts'
import { type Sockets, keepSockets } from './sockets.ts'

// A member that died is replaced after 10 s (Kafka's default of 45 s is how long its partitions would stand still).
// Short is safe: heartbeats go on while a batch is handled, and a member that slept is fenced by the database.
const sessionTimeoutMs = 10_000
const heartbeatIntervalMs = 1_000
// How long a group waits for a member that finishes a batch before it goes on without it. It is also how long a client
// that joins may have no answer, and so must end long before the watchdog takes it for wedged (kafkajs has 60 s).
const rebalanceTimeoutMs = 30_000
// How long the broker may hold an empty fetch; it bounds how long a stop waits.
const fetchWaitMs = 500
// What a fetch brings lies in memory until all of it is handled, and the next fetch beside it. Measured when kafkajs still
// made objects of all of it, five times its bytes, and fetched nothing ahead: to drain 100,000 records, 10 MB a fetch and
// 1 MB a partition (its defaults) took 384 MB of memory, 10 MB and 512 KiB 215 MB, these two 140 MB, half a megabyte
// 142 MB at five sixths of the rate. A send of 1,000 likes is one record batch of 400 KB: one batch always comes, however
// large.
const fetchBytes = 1_048_576
const fetchBytesPerPartition = 524_288
// Partitions that are added are seen with the next look at the topic (kafkajs's default is 5 minutes): until then nobody
// reads what is sent to them.
const metadataMaxAgeMs = 30_000
// A topic that is deleted says so to whoever asks for records. Nobody asks while batches are in hand, or the process sleeps:
// it may be made again meanwhile, and filled further than it was read, and the next question is answered from another log.
// From one question to the next it is half a second where nothing comes, and the time of the batches where something does.
const unseenMsMax = 2_000
// A client may hang while it joins, or when it is asked to leave; its group then finds out by the session. Both together
// stay below the time a service has for its stop.
const leaveMs = 3_000
const leaveStuckMs = 1_000

export interface MemberOptions extends KafkaOptions {
  groupId: string
  topic: string
  partitionsAtOnceMax: number
}

/** What a member says of itself; once it is left, nothing. */
export interface MemberEvents {
  joined: (partitions: number[]) => void
  rebalances: () => void
  beats: () => void
  /** Records that were passed over without a batch: markers of a transaction. */
  passed: (partition: number, next: bigint, end: bigint) => void
}

export interface Member {
  /** Resolves when it has left after a stop; rejects with what ended it otherwise. */
  ended: Promise<void>
  /** Leaves it behind, whatever it does or waits for. */
  abandon(why: Failure): void
}

/** One Kafka client in the group, from its connection to its end. */
export function runMember(
  options: MemberOptions,
  work: Omit<BatchWork, 'gone'>,
  events: MemberEvents,
): Member {
  const sockets = keepSockets()
  const consumer = buildMember(options, sockets)
  let end: (error?: unknown) => void = () => undefined
  const over = new Promise<unknown>((resolve) => (end = resolve))
  const gone = new AbortController()
  setMaxListeners(0, gone.signal) // each batch in hand listens
  const hands = countHands()
  const commits = buildCommits(options.topic)
  let left = false
  let joining = false
  const here = silentOnce(() => left)
  const heard = {
    joined: here(events.joined),
    rebalances: here(events.rebalances),
    beats: here(events.beats),
  }
  const sight = listen(consumer, { topic: options.topic, commits }, { ...heard, passed: here(events.passed) })
  const told: BatchWork = { ...quietWork(work, here, sight), gone: gone.signal }
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    end(payload.error)
  })
  const onStop = () => {
    end()
  }
  work.stopping.addEventListener('abort', onStop)
  if (work.stopping.aborted) onStop()

  async function begin(): Promise<void> {
    await consumer.connect()
    await consumer.subscribe({ topic: options.topic, fromBeginning: true })
    joining = true
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: options.partitionsAtOnceMax,
      // What hangs is left behind: while a batch is in hand, kafkajs does not leave the group.
      eachBatch: (payload) => {
        const isFirst = sight.isFirst(payload.batch.partition)
        const place = { isFirst, heartbeatIntervalMs, consumer, commits }
        return hands.hold(() => orGone(gone.signal, handleIncoming(told, payload, place)))
      },
    })
    joining = false
  }

  async function run(): Promise<void> {
    const begun = begin()
    begun.catch(end)
    const error = await over
    work.stopping.removeEventListener('abort', onStop)
    const isStop = error === undefined
    // One that goes while it joins would stay in the group, for others to wait for, until its session ends.
    if (isStop && joining) await Promise.race([begun.catch(() => undefined), pause(leaveMs)])
    left = !isStop
    if (left) gone.abort()
    if (left) commits.forget()
    else await atMost(leaveMs, commits.flush())
    await (isStop ? leave(consumer, leaveMs, hands.empty()) : leave(consumer, leaveStuckMs))
    left = true
    sockets.destroy()
    if (!isStop) throw kafkaFailure(error)
  }

  return { ended: run(), abandon: end }
}

const silentOnce =
  (isOver: () => boolean) =>
  <A extends unknown[]>(tell: (...args: A) => void) =>
  (...args: A): void => {
    if (!isOver()) tell(...args)
  }

function quietWork<W extends Omit<BatchWork, 'gone'>>(
  work: W,
  here: ReturnType<typeof silentOnce>,
  sight: Sight,
): W {
  const { waits, begun, gotOn } = work
  const handled: BatchWork['handled'] = (batch) => {
    sight.handled(batch.partition)
    work.handled(batch)
  }
  return { ...work, waits: here(waits), begun: here(begun), gotOn: here(gotOn), handled: here(handled) }
}

/** Finishes what is in hand. Of a client that crashed or is wedged it is nobody's any more: the database decides. */
async function leave(consumer: Consumer, limitMs: number, handsEmpty = Promise.resolve()): Promise<void> {
  await atMost(
    limitMs,
    consumer.disconnect().catch(() => undefined),
    handsEmpty,
  )
}

/** Waits for `work`, and no longer than so long after `since`. */
async function atMost(limitMs: number, work: Promise<void>, since = Promise.resolve()): Promise<void> {
  const done = new AbortController()
  await Promise.race([work, since.then(() => pause(limitMs, done.signal))])
  done.abort()
}

function buildMember(options: MemberOptions, sockets: Sockets): Consumer {
  return buildKafka(options, sockets.open).consumer({
    groupId: options.groupId,
    sessionTimeout: sessionTimeoutMs,
    rebalanceTimeout: rebalanceTimeoutMs,
    heartbeatInterval: heartbeatIntervalMs,
    maxWaitTimeInMs: fetchWaitMs,
    maxBytes: fetchBytes,
    maxBytesPerPartition: fetchBytesPerPartition,
    metadataMaxAge: metadataMaxAgeMs,
    allowAutoTopicCreation: false,
    retry: {
      retries: 3,
      initialRetryTime: 100,
      maxRetryTime: 1_000,
      restartOnFailure: () => Promise.resolve(false),
    },
  })
}

interface Sight {
  /** Whether it is the first batch of its partition since it was assigned, or since it was out of sight; once for each. */
  isFirst: (partition: number) => boolean
  /** What is not handled yet, as a batch that was given back, is not a first one again: or it would never get on. */
  handled: (partition: number) => void
}

function listen(
  consumer: Consumer,
  { topic, commits }: { topic: string; commits: Commits },
  events: MemberEvents,
): Sight {
  let unread = new Set<number>()
  const seen = new Set<number>()
  let askedMs = performance.now()
  consumer.on(consumer.events.FETCH_START, () => {
    const nowMs = performance.now()
    if (nowMs - askedMs > unseenMsMax) {
      for (const partition of seen) unread.add(partition)
      seen.clear()
    }
    askedMs = nowMs
  })
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    const partitions = payload.memberAssignment[topic] ?? []
    unread = new Set(partitions)
    seen.clear()
    commits.forget()
    events.joined(partitions)
  })
  consumer.on(consumer.events.REBALANCING, () => {
    void commits.flush() // goes out before the request to join, while the generation still counts
    events.rebalances()
  })
  consumer.on(consumer.events.HEARTBEAT, () => {
    events.beats()
  })
  consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) => {
    if (payload.batchSize > 0) return
    events.passed(payload.partition, BigInt(payload.lastOffset) + 1n, BigInt(payload.highWatermark))
  })
  return {
    isFirst: (partition) => unread.delete(partition),
    handled: (partition) => void seen.add(partition),
  }
}

/** The batches in hand. */
function countHands() {
  let held = 0
  let onEmpty: () => void = () => undefined
  return {
    async hold<T>(work: () => Promise<T>): Promise<T> {
      held += 1
      try {
        return await work()
      } finally {
        held -= 1
        if (held === 0) onEmpty()
      }
    },
    empty: (): Promise<void> =>
      held === 0 ? Promise.resolve() : new Promise((resolve) => (onEmpty = resolve)),
  }
}
