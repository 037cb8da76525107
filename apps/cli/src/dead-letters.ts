import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Database } from '@likewise/database'
import {
  type KeyOutcome,
  type LetterSelection,
  type RedriveAction,
  discard,
  listDeadLetters,
  readDeadLetters,
  readQueue,
  redrive,
} from '@likewise/inbox'
import { applyToProductMetrics } from '@likewise/metrics'
import { Failure, readConfig } from '@likewise/service'
import { isNumber, isUuid, me, numberOf, time, uuid } from './arguments.ts'
import { type Say, connect, metricsOf, wholeNumber } from './catalog.ts'
import { DeadLettersConfig } from './config.ts'
import {
  letterAsJson,
  lettersTable,
  outcomesTable,
  plainJson,
  showLetter,
  stoppedText,
  summaryOf,
} from './dead-letters-view.ts'

const dayMs = 86_400_000

interface Selected {
  key?: string
  event?: string
  id?: bigint
  reason?: string
  from?: Date
  to?: Date
  consumer?: string
  json?: boolean
}

interface Acting extends Selected {
  by: string
  dryRun?: boolean
  force?: boolean
}

type Move = (db: Database, action: RedriveAction) => AsyncGenerator<KeyOutcome>

/** `likewise dead-letters …`: what the consumer could not handle, and what waits behind it. */
export function addDeadLetterCommands(program: Command, say: Say): void {
  const letters = program
    .command('dead-letters')
    .description('events that the consumer could not handle, and what waits behind them')
  selecting(letters.command('list').description('unresolved ones, the oldest first'))
    .option('--all', 'those that were redriven or discarded as well')
    .option('--limit <n>', 'at most so many', wholeNumber(999_999), 50)
    .action((options: Selected & { all?: boolean; limit: number }) => list(options, say))
  consuming(letters.command('show').description('the whole record, why it was parked, and what mends it'))
    .argument('<id>', 'its number, or the id of its event', letterOrEvent)
    .action((which: { id: bigint } | { eventId: string }, options: Selected) => show(which, options, say))
  acting(letters.command('redrive').description('applies them, in order, and then what waited behind them'))
    .option('--force', 'also what is too old, from the future, or without a usable id')
    .action((options: Acting) => act(redrive, options, say))
  acting(letters.command('discard').description('gives them up; what waited behind them is applied, in order'))
    .action((options: Acting) => act(discard, options, say)) // prettier-ignore
}

const consuming = (command: Command): Command =>
  command.option('--consumer <name>', 'whose; CONSUMER_GROUP unless set').option('--json', 'machine-readable')

const selecting = (command: Command): Command =>
  consuming(command)
    .option('--key <key>', 'of one key')
    .addOption(new Option('--event <id>', 'of one event').argParser(uuid).conflicts('id'))
    .option('--id <n>', 'one, by its number', numberOf('a dead letter'))
    .option('--reason <word>', 'with that reason, such as not_json')
    .option('--from <time>', 'parked from then on (ISO 8601)', time)
    .option('--to <time>', 'parked before then', time)

const acting = (command: Command): Command =>
  selecting(command)
    .option('--dry-run', 'does all of it, says what came of it, and rolls it back')
    .option('--by <name>', 'who it is, for metrics.inbox_audit', me)

async function list(
  { all = false, limit, ...options }: Selected & { all?: boolean; limit: number },
  say: Say,
) {
  const selection = selectionOf(options)
  const { letters, total } = await withMetrics(options, (db, { consumer }) =>
    listDeadLetters(db, { consumer, selection, all, limit }),
  )
  if (options.json) {
    say(plainJson(letters))
    return
  }
  const which = Object.keys(selection).length === 0 ? '' : ' that fits'
  say(letters.length === 0 ? `No ${all ? '' : 'unresolved '}dead letter${which}.` : lettersTable(letters))
  if (total > letters.length) say(`The first ${letters.length} of ${total}; --limit shows more.`)
}

async function show(which: { id: bigint } | { eventId: string }, options: Selected, say: Say): Promise<void> {
  await withMetrics(options, async (db, { consumer, horizon }) => {
    const letters = await readDeadLetters(db, consumer, which)
    if (letters.length === 0) {
      const what = 'id' in which ? `number ${String(which.id)}` : `event ${which.eventId}`
      throw new Failure('NOT_FOUND', `${consumer} has no dead letter of ${what}, resolved ones included.`)
    }
    for (const letter of letters) {
      const { topic, key, blocksKey, resolvedAt } = letter
      const queue =
        key !== null && blocksKey && resolvedAt === null
          ? await readQueue(db, { consumer, topic, key })
          : null
      const asked = options.consumer === undefined ? '' : ` --consumer ${options.consumer}`
      say(
        options.json
          ? letterAsJson(letter, queue)
          : showLetter(letter, { queue, horizon, nowMs: Date.now(), asked }),
      )
    }
  })
}

const shownMax = 100

async function act(move: Move, options: Acting, say: Say): Promise<void> {
  const selection = selectionOf(options)
  if (Object.keys(selection).length === 0)
    throw new Failure(
      'CONFIG_INVALID',
      'Say which dead letters: --key, --event, --id, --reason, --from or --to.',
    )
  const { by: actor, dryRun = false, force = false } = options
  const sum = { keys: 0, redriven: 0, duplicates: 0, discarded: 0, left: 0, blocked: 0, failed: 0 }
  const shown: KeyOutcome[] = []
  let last: KeyOutcome | undefined
  let stopped: { error: unknown } | undefined
  try {
    await withMetrics(options, async (db, { consumer, horizon }) => {
      const action = { consumer, selection, actor, horizon, work: applyToProductMetrics, dryRun, force }
      for await (const outcome of move(db, action)) {
        last = outcome
        add(sum, outcome)
        // A key that failed is shown however many went well before it.
        if (shown.length < shownMax || (outcome.failed !== undefined && sum.failed < shownMax))
          shown.push(outcome)
      }
    })
  } catch (error) {
    stopped = { error }
  }
  if (last === undefined && stopped) throw stopped.error
  const where = stopped && stoppedText(stopped.error, { last, dryRun })
  if (options.json) say(plainJson({ ...sum, dryRun, first: shown, ...(where && { stopped: where }) }))
  else {
    say(outcomesTable(shown))
    if (sum.keys > shown.length) say(`  … and ${sum.keys - shown.length} more keys`)
    say(summaryOf(sum, dryRun))
    if (where !== undefined) say(where)
  }
  if (stopped && !(stopped.error instanceof Failure)) throw stopped.error
  if (sum.left + sum.failed > 0 || stopped) process.exitCode = 1
}

type Sum = Parameters<typeof summaryOf>[0]

function add(sum: Sum, outcome: KeyOutcome): void {
  sum.keys += 1
  for (const part of ['redriven', 'duplicates', 'discarded', 'left'] as const) sum[part] += outcome[part]
  if (outcome.waiting > 0) sum.blocked += 1
  if (outcome.failed !== undefined) sum.failed += 1
}

interface Consumer {
  consumer: string
  horizon: RedriveAction['horizon']
}

async function withMetrics<T>(
  { consumer }: Selected,
  work: (db: Database, about: Consumer) => Promise<T>,
): Promise<T> {
  const config = readConfig(DeadLettersConfig)
  const horizon = { dedupHorizonMs: config.CONSUMER_DEDUP_HORIZON_DAYS * dayMs, futureMaxMs: dayMs }
  const db = connect(metricsOf(config), statementTimeoutMs)
  try {
    return await work(db, { consumer: consumer ?? config.CONSUMER_GROUP, horizon })
  } finally {
    await db.stop()
  }
}

/** For one statement; a redrive may wait so long for a batch of the same partition. */
const statementTimeoutMs = 60_000

const selectionOf = ({ id, event, key, reason, from, to }: Selected): LetterSelection => ({
  ...(id !== undefined && { id }),
  ...(event !== undefined && { eventId: event }),
  ...(key !== undefined && { key }),
  ...(reason !== undefined && { reason }),
  ...(from !== undefined && { parkedFrom: from }),
  ...(to !== undefined && { parkedTo: to }),
})

function letterOrEvent(text: string): { id: bigint } | { eventId: string } {
  if (isUuid(text)) return { eventId: text }
  if (isNumber(text)) return { id: BigInt(text) }
  throw new InvalidArgumentError('It must be the number of a dead letter, or the id of an event.')
}
