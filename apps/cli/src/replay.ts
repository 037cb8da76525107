import { randomUUID } from 'node:crypto'
import type { Command } from 'commander'
import type { Database } from '@likewise/database'
import { topics } from '@likewise/events'
import { type Replayed, type Scope, readNextOffsets, replayRecords } from '@likewise/inbox'
import { type KafkaOptions, readLog, readOffsetsAt, readTopicEnds } from '@likewise/kafka'
import { applyToProductMetrics } from '@likewise/metrics'
import { Failure, pause, readConfig } from '@likewise/service'
import { time } from './arguments.ts'
import { connect, metricsOf } from './catalog.ts'
import { RebuildConfig } from './config.ts'
import { plainJson } from './dead-letters-view.ts'
import { counted, showProgress } from './progress.ts'
import type { Tools } from './rebuild.ts'

const dayMs = 86_400_000

interface Options {
  from?: Date
  to?: Date
  key?: string
  consumer?: string
  dryRun?: boolean
  json?: boolean
}

/** `likewise replay`: handles records of the topic once more. */
export function addReplayCommand(program: Command, tools: Tools): void {
  program
    .command('replay')
    .description(
      'handles records of the topic again: what has neither had its effect nor a dead letter gets one of them',
    )
    .option('--from <time>', 'records that came from then on (ISO 8601)', time)
    .option('--to <time>', 'records that came before then', time)
    .option('--key <key>', 'records of one key, a product id')
    .option('--dry-run', 'does all of it, says what came of it, and rolls it back')
    .option('--consumer <name>', 'whose; CONSUMER_GROUP unless set')
    .option('--json', 'machine-readable')
    .action((options: Options) => replay(options, tools))
}

interface Context extends Tools {
  readonly topic: string
  readonly db: Database
  readonly kafka: KafkaOptions
  readonly consumer: string
  readonly horizonDays: number
  readonly options: Options
}

async function replay(options: Options, tools: Tools): Promise<void> {
  if (options.from === undefined && options.to === undefined && options.key === undefined)
    throw new Failure('CONFIG_INVALID', 'Say which records: --from, --to or --key.')
  const config = readConfig(RebuildConfig)
  const db = connect(metricsOf(config), 60_000)
  const consumer = options.consumer ?? config.CONSUMER_GROUP
  const about = { db, kafka: tools.kafkaOptions(config), consumer, horizonDays: config.CONSUMER_DEDUP_HORIZON_DAYS } // prettier-ignore
  try {
    const tally = await replayAll({ topic: topics.catalogEvents, ...tools, ...about, options })
    if (options.json) tools.output.say(plainJson({ ...tally, dryRun: options.dryRun === true }))
    else for (const line of tallyText(tally, options.dryRun === true)) tools.output.say(line)
  } finally {
    await db.stop()
  }
}

/** `ahead` counts for nothing here: nothing beyond the marks is asked for. */
type Tally = Omit<Replayed, 'ahead'>

async function replayAll(context: Context): Promise<Tally> {
  const { db, kafka, topic, consumer, options, output } = context
  const ranges = await rangesOf(context)
  const total = sum(ranges.map(({ from, to }) => Number(to - from)))
  const progress = showProgress(options.json ? { say: () => undefined } : output)
  const tally = { applied: 0, hadEffect: 0, letters: 0, parked: 0, unjudged: 0, foreign: 0 }
  const next = new Map(ranges.map(({ partition, from }) => [partition, from]))
  const ends = new Map(ranges.map(({ partition, to }) => [partition, to]))
  let failed: { error: unknown } | undefined
  const horizon = { dedupHorizonMs: context.horizonDays * dayMs, futureMaxMs: dayMs }
  const stop = readLog({
    ...kafka,
    topic,
    // Of its own: two replays at a time would share the partitions, and each wait for the other's.
    groupId: `${consumer}-replay-${randomUUID()}`,
    from: next,
    async onRecords(partition, records) {
      const end = ends.get(partition) ?? 0n
      const scope: Scope = { consumer, topic, partition }
      const wanted = records.filter((record) => record.offset < end && isWanted(record, options))
      if (wanted.length > 0) {
        const { ahead: _ahead, ...replayed } = await replayRecords(db, {
          ...{ scope, records: wanted, horizon, work: applyToProductMetrics },
          ...(options.dryRun && { dryRun: true }),
        })
        for (const [name, count] of Object.entries(replayed)) tally[name as keyof Tally] += count
      }
      const last = records.at(-1)
      if (last) next.set(partition, last.offset + 1n < end ? last.offset + 1n : end)
      return true
    },
    fail: (error) => {
      failed ??= { error }
    },
  })
  const done = () =>
    sum(ranges.map(({ partition, from, to }) => Number(min(next.get(partition) ?? to, to) - from)))
  try {
    while (done() < total) {
      if (failed) throw failed.error
      progress.tell(done(), total)
      await pause(50)
    }
    progress.end(total, total)
    return tally
  } finally {
    progress.leave()
    await stop()
  }
}

interface Range {
  readonly partition: number
  readonly from: bigint
  /** Before it; never beyond the mark: what lies there the consumer will handle. */
  readonly to: bigint
}

/** A topic that keeps its senders' times may hold an earlier one behind a later one. */
const unorderedMs = 3_600_000

async function rangesOf({ db, kafka, topic, consumer, options }: Context): Promise<Range[]> {
  const marks = await readNextOffsets(db, consumer, topic)
  const ends = await readTopicEnds(kafka, topic)
  const from = options.from && (await readOffsetsAt(kafka, topic, options.from.getTime()))
  const to = options.to && (await readOffsetsAt(kafka, topic, options.to.getTime() + unorderedMs))
  return ends.flatMap(({ partition, start, end }) => {
    const range = {
      partition,
      from: from?.get(partition) ?? start,
      to: min(marks.get(partition) ?? 0n, to?.get(partition) ?? end),
    }
    return range.from < range.to ? [range] : []
  })
}

const isWanted = (
  { key, timeMs }: { key: string | null; timeMs: number },
  { from, to, key: asked }: Options,
): boolean =>
  (asked === undefined || key === asked) &&
  (from === undefined || timeMs >= from.getTime()) &&
  (to === undefined || timeMs < to.getTime())

const sum = (numbers: readonly number[]): number => numbers.reduce((total, n) => total + n, 0)
const min = (a: bigint, b: bigint): bigint => (a < b ? a : b)

function tallyText(
  { applied, hadEffect, letters, parked, unjudged, foreign }: Tally,
  dryRun: boolean,
): string[] {
  const would = dryRun ? 'would ' : ''
  const lines: [number, string][] = [
    [hadEffect, 'had their effect before'],
    [applied, dryRun ? 'would have their effect now' : 'have their effect now'],
    [letters, 'have a dead letter, which decides: left alone'],
    [parked, `${would}have a dead letter now: likewise dead-letters list`],
    [unjudged, 'are too old, or too far ahead, to be told from what had its effect: left alone'],
    [foreign, 'are of other families'],
  ]
  const told = lines
    .filter(([count], i) => count > 0 || i < 2)
    .map(([count, what]) => `  ${counted(count)} ${what}`)
  return [
    ...told,
    applied + parked === 0 ? 'Nothing was missing.' : dryRun ? 'Nothing was changed.' : 'Done.',
  ]
}
