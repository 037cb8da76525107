import { setMaxListeners } from 'node:events'
import { Failure, type Telemetry, backoffMs, pause } from '@likewise/service'
import type { BatchWork, IncomingBatch } from './batch.ts'
import type { KafkaOptions } from './client.ts'
import { buildLogPositions } from './log-positions.ts'
import { type Member, type MemberEvents, runMember } from './member.ts'
import { type Progress, buildProgress } from './progress.ts'
import { subscriberTelemetry } from './subscriber-telemetry.ts'
import { type Supervisor, supervise } from './supervisor.ts'

export type { IncomingBatch, IncomingRecord } from './batch.ts'

export interface SubscriberOptions extends KafkaOptions {
  groupId: string
  topic: string
  /** Batches of several partitions handled at the same time. */
  partitionsAtOnceMax: number
  /**
   * Handles a batch completely (its effects are committed when it resolves). A retryable Failure is an outage: the
   * same batch comes again after a pause, the membership is kept. Any other error is a bug and goes to `fail`, but for
   * one after `stopping`. Where it resolves to an offset, the batch is given back and reading goes on from there (from
   * the beginning, where the log has no such offset): nothing is told to the broker. One that may take as long as
   * `watchdogMs` calls `gotOn` now and then.
   */
  onBatch: (batch: IncomingBatch) => Promise<bigint | undefined>
  /** A client that says nothing for so long, while Kafka answers, is replaced; see watchdog.ts. */
  watchdogMs?: number
  telemetry?: Telemetry
  /** Called for a bug, and when fresh clients did not get on either; never for an outage. */
  fail: (error: unknown) => void
}

export interface Subscriber {
  /** True while this member belongs to the group. */
  joined(): boolean
  partitions(): number[]
  /** Why this member cannot be counted on now, in a sentence; null where it can, with or without partitions. */
  fault(): string | null
  /** Finishes the batch in hand and leaves the group. */
  stop(): Promise<void>
}

const backoff = { baseMs: 100, capMs: 5_000, random: Math.random }
// Each has the whole time of the watchdog: with the default a process that does not get on ends after four minutes.
const restartsMax = 3

/**
 * A member of a consumer group that stays one: whatever crashes, it starts again with a fresh client, for ever, and one
 * that wedges without a crash is replaced. Where the group has no offset, or the broker no longer has it, reading starts
 * at the beginning: never at the end, which would skip.
 */
export function subscribe(options: SubscriberOptions): Subscriber {
  const { log } = options
  const stopping = new AbortController()
  setMaxListeners(0, stopping.signal) // each batch that waits an outage out listens
  const progress = buildProgress()
  const telemetry = subscriberTelemetry(options.telemetry)
  const positions = buildLogPositions(options)
  let member: Member | undefined
  let joined = false
  let attempt = 0

  const supervisor = supervise({
    limits: { silenceMs: options.watchdogMs ?? 60_000, restartsMax },
    progress,
    telemetry,
    readPositions: () => positions.read(),
    isJoined: () => joined,
    restart: (why) => member?.abandon(why),
    exit: fail,
    log,
  })

  function fail(error: unknown): void {
    stopping.abort() // or the same batch would come again, and the same bug
    options.fail(error)
  }

  const hooks = listen({ options, fail, stopping: stopping.signal, progress, supervisor }, (is) => {
    joined = is
    if (is) telemetry.rebalanced()
  })
  const work = {
    ...hooks.work,
    handled: (batch: IncomingBatch) => {
      attempt = 0
      hooks.work.handled(batch)
    },
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        member = runMember(options, work, hooks.events)
        await member.ended
      } catch (error) {
        attempt += 1
        const isStuck = error instanceof Failure && error.code === 'CONSUMER_STUCK'
        if (!isStuck) {
          telemetry.restarted('crash')
          supervisor.outage()
        }
        log.warn({ err: error, attempt }, 'consumer starts again')
        forget()
        await pause(backoffMs({ attempt, ...backoff }), stopping.signal)
      }
    }
    forget()
  }

  function forget(): void {
    joined = false
    progress.assign([])
  }

  const running = run()
  return {
    joined: () => joined,
    partitions: () => progress.partitions(),
    fault: () => supervisor.fault() ?? (joined ? null : 'Not a member of the consumer group yet.'),
    async stop() {
      stopping.abort()
      await running
      await Promise.all([supervisor.stop(), positions.stop()])
    },
  }
}

interface Listening {
  options: SubscriberOptions
  fail: (error: unknown) => void
  stopping: AbortSignal
  progress: Progress
  supervisor: Supervisor
}

/** What a client does and says, as progress and as signs of life. */
function listen(
  { options, fail, stopping, progress, supervisor }: Listening,
  setJoined: (is: boolean) => void,
): { work: Omit<BatchWork, 'gone'>; events: MemberEvents } {
  return {
    work: {
      onBatch: options.onBatch,
      fail,
      log: options.log,
      stopping,
      begun: ({ partition, records }) => progress.begun(partition, records[0]?.timeMs ?? Date.now()),
      gotOn: () => supervisor.handled(),
      waits: () => supervisor.waits(),
      handled({ partition, records, logEnd }) {
        const last = records.at(-1)
        if (last) {
          const { offset, timeMs } = last
          progress.handled(partition, { next: offset + 1n, end: logEnd, newestMs: timeMs })
        }
        supervisor.handled()
      },
    },
    events: {
      joined(partitions) {
        setJoined(true)
        progress.assign(partitions)
        supervisor.beats()
        options.log.info({ partitions }, 'partitions assigned')
      },
      rebalances: () => setJoined(false),
      beats: () => supervisor.beats(),
      passed: (partition, next, end) => progress.handled(partition, { next, end, newestMs: Date.now() }),
    },
  }
}
