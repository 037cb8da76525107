import { type Command, Option } from 'commander'
import { topics } from '@likewise/events'
import { Failure, maskPasswords, readConfig } from '@likewise/service'
import { me } from './arguments.ts'
import { catalogOf, connect, metricsOf, wholeNumber } from './catalog.ts'
import { CliConfig } from './config.ts'
import { plainJson } from './dead-letters-view.ts'
import { type Output, showProgress } from './progress.ts'
import type { Tools } from './rebuild.ts'
import { type Suspect, compareAll } from './verify-compare.ts'
import { type Explained, explain, isWaiting } from './verify-explain.ts'
import { type Facts, readFacts } from './verify-facts.ts'
import { mendingOf } from './verify-mend.ts'
import { type Moment, type Sides, type Waiting, atOneMoment } from './verify-moment.ts'
import { type Repaired, repairProducts } from './verify-repair.ts'
import { verifiedText } from './verify-view.ts'

export interface VerifyOptions {
  /** Seconds; true: as long as it takes. */
  wait?: number | true
  repair?: boolean
  consumer?: string
  by: string
  json?: boolean
}

export interface Verified {
  readonly outcome: 'equal' | 'drift'
  readonly consumer: string
  /** The moment of the producer side that was compared. */
  readonly asOf: Date
  readonly products: number
  readonly likes: number
  /** Products that differ, or of which something is to be told. */
  readonly found: readonly Found[]
  /** So many more were not looked at closely. */
  readonly more: number
  readonly repaired: readonly Repaired[]
}

export interface Found extends Explained {
  /** Something is wrong with it, or waits. Else an event's row was deleted when it was counted: there is nothing to put right. */
  readonly drift: boolean
}

/** What is handled a moment later anyway. */
const waitDefaultS = 10

/** `likewise verify`: whether every product's count is the number of its likes. */
export function addVerifyCommand(program: Command, tools: Tools): void {
  program
    .command('verify')
    .description(
      'compares the likes with their counts, whatever is on its way, and explains what differs; exits 0: all equal, ' +
        '1: some differ, 2: could not tell',
    )
    .addOption(
      new Option('--wait [seconds]', `how long to wait for what is on its way; ${String(waitDefaultS)} unless set, without a number as long as it takes`) // prettier-ignore
        .argParser(wholeNumber(9_999_999)),
    )
    .option('--repair', 'and puts right what differs, product by product, while events flow')
    .option('--consumer <name>', 'whose counts; CONSUMER_GROUP unless set')
    .option('--by <name>', 'who it is, for metrics.inbox_audit', me)
    .option('--json', 'machine-readable')
    .action((options: VerifyOptions) => verify(options, tools))
}

/** A scan of each side takes minutes where there are hundreds of millions of rows. */
const statementTimeoutMs = 6 * 3_600_000
/** The moment holds two transactions of the producer side, and a repair has one more of each. */
const poolSize = 4

async function verify(options: VerifyOptions, tools: Tools): Promise<void> {
  const { output } = tools
  try {
    const found = await run(options, tools)
    if ('waitsFor' in found) {
      cannotTell(options, output, found.waitsFor)
      return
    }
    if (options.json) output.say(plainJson(found))
    else for (const line of verifiedText(found)) output.say(line)
    if (!isRight(found)) process.exitCode = 1
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    cannotTell(options, output, maskPasswords(error.message))
  }
}

/** What was found is right, or has been put right. */
function isRight({ found, more, repaired }: Verified): boolean {
  const outcomes = new Map(repaired.map(({ productId, outcome }) => [productId, outcome]))
  const isLeft = (one: Found): boolean =>
    one.drift && (isWaiting(one) || outcomes.get(one.productId) !== 'mended')
  return more === 0 && !found.some(isLeft)
}

function cannotTell({ json }: VerifyOptions, { say }: Output, why: string): void {
  say(json ? plainJson({ outcome: 'unknown', why }) : `Cannot tell: ${why}`)
  process.exitCode = 2
}

async function run(options: VerifyOptions, tools: Tools): Promise<Verified | Waiting> {
  const config = readConfig(CliConfig)
  const sides: Sides = {
    catalog: connect(catalogOf(config), statementTimeoutMs, poolSize),
    metrics: connect(metricsOf(config), statementTimeoutMs, poolSize),
    kafka: tools.kafkaOptions(config),
    consumer: options.consumer ?? config.CONSUMER_GROUP,
    topic: tools.topic ?? topics.catalogEvents,
  }
  const progress = progressOn(tools.aside ?? { say: () => undefined })
  const patience = {
    patienceMs: options.wait === true ? Infinity : 1_000 * (options.wait ?? waitDefaultS),
    tell: progress.waits,
  }
  // What was done before an outage is told with what is found after it.
  const repaired: Repaired[] = []
  try {
    return await atOneMoment(sides, patience, (moment) =>
      look(moment, { sides, options, progress, repaired }),
    )
  } finally {
    progress.end()
    await Promise.all([sides.catalog.stop(), sides.metrics.stop()])
  }
}

interface Looking {
  readonly sides: Sides
  readonly options: VerifyOptions
  readonly progress: ReturnType<typeof progressOn>
  readonly repaired: Repaired[]
}

async function look(moment: Moment, { sides, options, progress, repaired }: Looking): Promise<Verified> {
  const { suspects, more, ...compared } = await compareAll(moment, sides, progress.compared)
  const found: Found[] = []
  for (const batch of batchesOf(suspects)) {
    const toRepair: Facts[] = []
    for (const facts of await readFacts(moment, sides, batch)) {
      const explained = explain(facts)
      if (explained.findings.length === 0) continue
      const drift = isDrift(facts, explained)
      found.push({ ...explained, drift })
      if (drift) toRepair.push(facts)
    }
    if (!options.repair) continue
    const repairs = repairProducts(sides, moment, { facts: toRepair, actor: options.by })
    for await (const one of repairs) repaired.push(one)
  }
  const isEqual = more === 0 && !found.some(({ drift }) => drift)
  return {
    ...{ outcome: isEqual ? 'equal' : 'drift', consumer: sides.consumer, asOf: moment.ledger.takenAt },
    ...{ ...compared, found, more, repaired },
  }
}

const isDrift = (facts: Facts, { findings }: Explained): boolean =>
  findings.some(({ kind }) => kind !== 'unknown') || mendingOf(facts) !== null

function progressOn(aside: Output) {
  const bar = showProgress(aside, 'products')
  return {
    waits: ({ waitsFor }: Waiting): void => aside.overwrite?.(`  waits: ${waitsFor}`),
    compared: (products: number, about: number): void => bar.tell(products, about),
    end: (): void => aside.overwrite?.(''),
  }
}

/** Rows of the outbox that are held at a time; a product that has more comes alone. */
const eventsAtOnceMax = 100_000
const productsAtOnceMax = 1_000

function* batchesOf(suspects: readonly Suspect[]): Generator<number[]> {
  let [batch, events]: [number[], number] = [[], 0]
  for (const suspect of suspects) {
    if (
      batch.length > 0 &&
      (batch.length === productsAtOnceMax || events + suspect.events > eventsAtOnceMax)
    ) {
      yield batch
      ;[batch, events] = [[], 0]
    }
    batch.push(suspect.productId)
    events += suspect.events
  }
  if (batch.length > 0) yield batch
}
