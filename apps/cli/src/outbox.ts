import { type Command, Option } from 'commander'
import type { Database } from '@likewise/database'
import {
  type ParkedAction,
  type ParkedEvent,
  type ParkedSelection,
  discard,
  listParked,
  recover,
  redrive,
  republish,
} from '@likewise/outbox'
import { Failure } from '@likewise/service'
import { me, time, uuid } from './arguments.ts'
import { type Say, wholeNumber, withCatalog } from './catalog.ts'
import { age, table } from './table.ts'

interface Selected {
  key?: string
  event?: string
}
type Act = (db: Database, action: ParkedAction) => Promise<ParkedEvent[]>

/** `likewise outbox …`: what the producer side may need a person for. */
export function addOutboxCommands(program: Command, say: Say): Command {
  const outbox = program.command('outbox').description('parked events of the producer side')
  selecting(
    outbox.command('parked').description('events that the broker refused, and what waits behind them'),
  )
    .option('--limit <n>', 'at most so many, the oldest first', wholeNumber(999_999), 50)
    .option('--json', 'machine-readable')
    .action((options: Selected & { limit: number; json?: boolean }) => parked(options, say))
  acting(outbox.command('redrive'), 'sends refused events once more, and then what waits behind them, in order')
    .action((options: Selected & Acting) => act({ ...options, verb: 'redriven', action: redrive }, say)) // prettier-ignore
  acting(outbox.command('discard'), 'gives events up; what waited behind them is sent')
    .action((options: Selected & Acting) => act({ ...options, verb: 'discarded', action: discard }, say)) // prettier-ignore
  rewinding(outbox.command('republish'), 'publishes again what the ring still holds, for a topic that was deleted or cut')
    .action((options: Rewinding) => rewind({ ...options, action: republish }, say)) // prettier-ignore
  rewinding(outbox.command('recover'), 'makes the cursors fit a database that was restored, upgraded or copied')
    .action((options: Rewinding) => rewind({ ...options, action: recover }, say)) // prettier-ignore
  return outbox
}

interface Rewinding extends Acting {
  since?: Date
}

const rewinding = (command: Command, description: string): Command =>
  signed(
    command
      .description(description)
      .option('--since <time>', 'events written from then on (ISO 8601); all unless set', time),
    'only counts',
  )

async function rewind(
  { by: actor, dryRun = false, since, action }: Rewinding & { action: typeof republish },
  say: Say,
): Promise<void> {
  const { events, oldest } = await withCatalog(
    (db) => action(db, { actor, dryRun, ...(since && { since }) }),
    0,
  )
  const count = `${String(events)} ${events === 1 ? 'event' : 'events'}`
  const from = oldest === null ? '' : `, the oldest from ${oldest.toISOString()}`
  say(
    dryRun
      ? `${count} would be published${from}. Nothing was changed.`
      : `${count} will be published${from}; consumers drop those that they have handled.`,
  )
}

interface Acting {
  by: string
  dryRun?: boolean
}

const selecting = (command: Command): Command =>
  command
    .addOption(new Option('--key <partition key>', 'all of one key').conflicts('event'))
    .addOption(new Option('--event <id>', 'one event').argParser(uuid))

const acting = (command: Command, description: string): Command =>
  signed(selecting(command.description(description)), 'only shows which')

const signed = (command: Command, dryRun: string): Command =>
  command.option('--dry-run', dryRun).option('--by <name>', 'who it is, for catalog.outbox_audit', me)

async function parked(options: Selected & { limit: number; json?: boolean }, say: Say): Promise<void> {
  const selection = selectionOf(options)
  const found = await withCatalog((db) =>
    listParked(db, { limit: options.limit, ...(selection && { selection }) }),
  )
  if (options.json) {
    const plain = (_: string, value: unknown) => (typeof value === 'bigint' ? Number(value) : value)
    say(JSON.stringify(found, plain))
  } else say(found.length === 0 ? 'Nothing is parked in the outbox.' : parkedTable(found))
}

async function act(options: Selected & Acting & { verb: string; action: Act }, say: Say): Promise<void> {
  const selection = selectionOf(options)
  if (selection === undefined)
    throw new Failure('CONFIG_INVALID', 'Say which events: --key <partition key> or --event <id>.')
  const { by: actor, dryRun = false, verb, action } = options
  const marked = await withCatalog((db) => action(db, { selection, actor, dryRun }), 0)
  const events = `${String(marked.length)} ${marked.length === 1 ? 'event' : 'events'}`
  say(parkedTable(marked))
  say(
    dryRun
      ? `${events} would be ${verb}. Nothing was changed.`
      : `${events} marked; the relay that holds the shard carries it out within seconds.`,
  )
}

/** For people. Pure but for the clock. */
function parkedTable(events: readonly ParkedEvent[], nowMs = Date.now()): string {
  return table(
    ['event', 'key', 'type', 'state', 'attempts', 'parked for', 'why'],
    events.map((e) => [
      e.id,
      e.partitionKey,
      e.eventType,
      e.mark === null ? e.reason : `${e.reason}, to ${e.mark}`,
      String(e.attempts),
      age(nowMs - e.parkedAt.getTime()),
      e.detail,
    ]),
  ).join('\n')
}

function selectionOf({ key, event }: Selected): ParkedSelection | undefined {
  if (event !== undefined) return { eventId: event }
  return key === undefined ? undefined : { partitionKey: key }
}
