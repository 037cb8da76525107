import { type Command, Option } from 'commander'
import type { Database } from '@likewise/database'
import { topics } from '@likewise/events'
import {
  type FinishedModel,
  type Rebuild,
  type RebuildState,
  beginRebuild,
  dropRebuild,
  listSnapshots,
  readMarks,
  readRebuild,
  readRebuildOffsets,
  readSnapshot,
  takeRebuild,
} from '@likewise/inbox'
import { type KafkaOptions, readTopicEnds } from '@likewise/kafka'
import { type Differences, buildShadow } from '@likewise/metrics'
import { Failure, pause, readConfig, version } from '@likewise/service'
import type { Static } from 'typebox'
import { me, numberOf } from './arguments.ts'
import { type Say, connect, metricsOf } from './catalog.ts'
import { RebuildConfig, type TopicsConfig } from './config.ts'
import { plainJson } from './dead-letters-view.ts'
import { type Output, showProgress } from './progress.ts'
import { type Finished, patiently, runRebuild } from './rebuild-run.ts'
import { requireHeld } from './rebuild-source.ts'
import { baseText, countedText, differencesText } from './rebuild-view.ts'

export interface RebuildOptions {
  switch?: boolean
  drop?: boolean
  snapshot?: bigint | 'latest'
  consumer?: string
  by: string
  json?: boolean
}

export interface Tools {
  readonly kafkaOptions: (config: Static<typeof TopicsConfig>) => KafkaOptions
  readonly output: Output
  /** Beside what is said on `output`, for whoever looks on; nothing unless told. */
  readonly aside?: Output
  /** catalog-events unless told. */
  readonly topic?: string
  /** catalog-events-dlq unless told. */
  readonly deadLetters?: string
}

/** `likewise rebuild`: the read model once more from the topic, beside the live one. */
export function addRebuildCommand(program: Command, tools: Tools): void {
  program
    .command('rebuild')
    .description(
      'counts the topic once more beside the live read model, and says what differs; goes on with one that was interrupted',
    )
    .option('--switch', 'and puts the rebuilt model in the place of the live one')
    .option(
      '--snapshot <id>',
      "begins with a snapshot instead of the topic's beginning; or: latest",
      snapshotId,
    )
    .addOption(new Option('--drop', 'gives up the rebuild there is').conflicts(['switch', 'snapshot']))
    .option('--consumer <name>', 'whose model; CONSUMER_GROUP unless set')
    .option('--by <name>', 'who it is, for metrics.inbox_audit', me)
    .option('--json', 'what came of it, machine-readable')
    .action((options: RebuildOptions) => rebuild(options, tools))
}

interface Context {
  readonly topic: string
  readonly db: Database
  readonly kafka: KafkaOptions
  readonly consumer: string
  readonly model: FinishedModel<Differences>
  readonly options: RebuildOptions
  readonly output: Output
  readonly progress: ReturnType<typeof showProgress>
  readonly stopping: AbortSignal
}

/** Above what comparing or switching takes; a redrive holds a mark for ten minutes at most. */
const statementTimeoutMs = 900_000
/** Of the rebuild: a step, the lease, the standstill, and what is compared. */
const poolSize = 5

async function rebuild(
  options: RebuildOptions,
  { kafkaOptions, output, topic = topics.catalogEvents }: Tools,
): Promise<void> {
  const config = readConfig(RebuildConfig)
  const model = buildShadow({
    minutesKeptHours: config.CONSUMER_MINUTES_KEPT_HOURS,
    hoursKeptDays: config.CONSUMER_HOURS_KEPT_DAYS,
  })
  const db = connect(metricsOf(config), statementTimeoutMs, poolSize)
  const said = options.json ? { say: () => undefined } : output
  const progress = showProgress(said)
  const { signal, release } = interruption(() => {
    progress.leave()
    said.say('Ends after the step in hand …')
  })
  const consumer = options.consumer ?? config.CONSUMER_GROUP
  const context = {
    topic,
    db,
    kafka: kafkaOptions(config),
    consumer,
    model,
    options,
    output: said,
    progress,
    stopping: signal,
  }
  try {
    if (options.drop) await drop(context)
    else await build(context, output.say)
  } finally {
    release()
    await db.stop()
  }
}

async function build(context: Context, sayJson: Say): Promise<void> {
  const { db, kafka, output, options, stopping, model, progress } = context
  const { say } = output
  // A database that is not there at the start is told; from then on an outage is waited out. A beginning whose answer was
  // lost is gone on with.
  await readRebuild(db)
  const waiting = { stopping, progress, say }
  const taken = await patiently(waiting, async () => (await goOn(context)) ?? (await begin(context)))
  const finished =
    taken === 'stopped'
      ? taken
      : await runRebuild({ ...waiting, db, kafka, rebuild: taken.rebuild, model }, options.switch ? options.by : null) // prettier-ignore
  if (finished === 'stopped' || finished === 'in doubt') {
    say(
      finished === 'stopped'
        ? 'Stopped; the live model is as it was. likewise rebuild goes on, likewise rebuild --drop gives it up.'
        : 'Stopped before PostgreSQL could say whether the switch was made: likewise status tells of a rebuild where it was not.',
    )
    process.exitCode = 130
    return
  }
  told(context, finished, sayJson)
}

function told({ options, output }: Context, finished: Finished, sayJson: Say): void {
  const { differences, stoodStillMs, state } = finished
  const differs = differences.products + differences.buckets > 0
  if (options.json) sayJson(plainJson({ switched: options.switch === true, ...differences, rebuild: state }))
  for (const line of state ? countedText(state) : []) output.say(line)
  for (const line of differencesText(differences, options.switch === true)) output.say(line)
  if (options.switch) {
    const changed = differs ? 'the live model is what was rebuilt' : 'nothing had to be changed'
    output.say(`Switched: ${changed}. Batches waited for ${(stoodStillMs / 1_000).toFixed(2)} s.`)
    return
  }
  output.say('The live model is as it was.')
  output.say('  likewise rebuild --switch   brings the rebuilt one up to date and puts it in its place')
  output.say('  likewise rebuild --drop     gives it up')
  if (differs) process.exitCode = 1
}

/** Goes on with the rebuild there is; null where there is none. */
async function goOn(context: Context): Promise<{ rebuild: Rebuild } | null> {
  const { db, output, options, kafka, topic } = context
  const state = await readRebuild(db)
  if (!state) return null
  if (state.consumer !== context.consumer) {
    throw new Failure('ALREADY_RUNNING', `There is a rebuild of ${state.consumer} already, and one at a time is made: ${finishOf(state)}`) // prettier-ignore
  }
  if (state.version !== version) {
    throw new Failure('CONFLICT', `The rebuild there is was begun by version ${state.version}, which may count otherwise than this one (${version}): likewise rebuild --drop gives it up.`) // prettier-ignore
  }
  if (options.snapshot !== undefined && (await snapshotOf(context)) !== state.snapshotId) {
    throw new Failure('CONFLICT', `The rebuild there is began with ${baseText(state)}. Go on with it without --snapshot, or drop it: likewise rebuild --drop.`) // prettier-ignore
  }
  await untilFree(context, state)
  // The marks first: the log grows meanwhile, and must not seem to end before them.
  const stands = { marks: await readMarks(db, state.consumer, topic), offsets: await readRebuildOffsets(db) }
  requireHeld(topic, await readTopicEnds(kafka, topic), stands)
  const rebuild = await takeRebuild(db, options.by)
  if (!rebuild) throw heldBy(state)
  output.say(`Goes on with the rebuild of ${state.consumer} that was begun at ${state.begunAt.toISOString()}, from ${baseText(state)}.`) // prettier-ignore
  return { rebuild }
}

async function begin(context: Context): Promise<{ rebuild: Rebuild }> {
  const { db, kafka, topic, consumer, model, options, output } = context
  const marks = await readMarks(db, consumer, topic)
  if (marks.length === 0)
    throw new Failure(
      'NOT_FOUND',
      `Consumer ${consumer} has handled nothing of ${topic} yet: there is nothing to rebuild.`,
    )
  const snapshot = options.snapshot === undefined ? null : await snapshotOf(context)
  const ends = await readTopicEnds(kafka, topic)
  const offsets =
    snapshot === null ? ('the beginning' as const) : await readSnapshot(db, { id: snapshot, consumer, topic })
  requireHeld(topic, ends, { offsets, marks })
  const beginning = { consumer, topic, version, ownerName: options.by, model }
  output.say(`Rebuilds the read model of ${consumer} from ${baseText({ snapshotId: snapshot, topic })}, beside the live one.`) // prettier-ignore
  const rebuild = await beginRebuild(db, {
    ...beginning,
    ...(snapshot !== null && { snapshotId: snapshot }),
  })
  return { rebuild }
}

async function snapshotOf({ db, topic, consumer, options }: Context): Promise<bigint | null> {
  if (options.snapshot !== 'latest') return options.snapshot ?? null
  const latest = (await listSnapshots(db, { consumer, topic })).at(-1)
  if (!latest) throw new Failure('NOT_FOUND', `There is no snapshot of ${consumer}: likewise snapshot takes one.`) // prettier-ignore
  return latest.id
}

/** A process that was killed says nothing more, and its lease runs out; one that works renews it. */
async function untilFree({ db, output, stopping }: Context, state: RebuildState): Promise<void> {
  if (!state.isHeld) return
  output.say(`Waits for the process of ${state.ownerName} that works on the rebuild, or was killed …`)
  for (let now: RebuildState | null = state; now?.isHeld; now = await readRebuild(db)) {
    if (now.leaseUntil.getTime() !== state.leaseUntil.getTime()) throw heldBy(state)
    await pause(250, stopping)
    stopping.throwIfAborted()
  }
}

const heldBy = (state: RebuildState): Failure =>
  new Failure('ALREADY_RUNNING', `A rebuild is under way: ${finishOf(state)}`)

const finishOf = ({ ownerName, begunAt }: RebuildState): string =>
  `${ownerName} works on it, since ${begunAt.toISOString()}. Wait for its end, or stop it there (Ctrl-C); ` +
  'likewise rebuild --drop gives up one that nobody works on.'

async function drop(context: Context): Promise<void> {
  const { db, model, output, options } = context
  const state = await readRebuild(db)
  if (!state) throw new Failure('NOT_FOUND', 'There is no rebuild to give up.')
  await untilFree(context, state)
  if (!(await dropRebuild(db, model))) throw heldBy(state)
  if (options.json) return
  output.say(`The rebuild that was begun at ${state.begunAt.toISOString()} is given up; the live model is as it was.`) // prettier-ignore
}

/** The first signal asks for an end, the second ends. */
function interruption(tell: () => void): { signal: AbortSignal; release: () => void } {
  const stopping = new AbortController()
  const onSignal = () => {
    if (stopping.signal.aborted) process.exit(130)
    tell()
    stopping.abort(new Failure('CONFLICT', 'Stopped; the live model is as it was.'))
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.on(signal, onSignal)
  return {
    signal: stopping.signal,
    release() {
      for (const signal of signals) process.off(signal, onSignal)
    },
  }
}

const snapshotId = (text: string): bigint | 'latest' =>
  text === 'latest' ? text : numberOf('a snapshot, or latest')(text)
