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
import { type Explained, explain } from './verify-explain.ts'
import { readFacts } from './verify-facts.ts'
import { type Moment, type Sides, type Waiting, atOneMoment } from './verify-moment.ts'
import { type Repaired, repairProduct } from './verify-repair.ts'
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
  /** Products that differ, or of which something is wrong. */
  readonly found: readonly Explained[]
  /** So many more were not looked at closely. */
  readonly more: number
  readonly repaired: readonly Repaired[]
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
  const mended = new Set(repaired.flatMap((one) => (one.outcome === 'mended' ? one.productId : [])))
  const left = found.filter(({ productId, findings }) => !mended.has(productId) || findings.some(({ kind }) => kind === 'parked' || kind === 'dead_letter')) // prettier-ignore
  return left.length === 0 && more === 0
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
  try {
    return await atOneMoment(sides, patience, (moment) => look(moment, { sides, options, progress }))
  } finally {
    progress.end()
    await Promise.all([sides.catalog.stop(), sides.metrics.stop()])
  }
}

interface Looking {
  readonly sides: Sides
  readonly options: VerifyOptions
  readonly progress: ReturnType<typeof progressOn>
}

async function look(moment: Moment, { sides, options, progress }: Looking): Promise<Verified> {
  const compared = await compareAll(moment, sides, progress.compared)
  const found: Explained[] = []
  const repaired: Repaired[] = []
  for (const batch of batchesOf(compared.suspects)) {
    const facts = await readFacts(moment, sides, batch)
    for (const one of facts) {
      const explained = explain(one)
      if (explained.findings.length === 0) continue
      found.push(explained)
      if (options.repair) repaired.push(await repairProduct(sides, moment, { facts: one, actor: options.by }))
    }
  }
  const more = compared.suspectsTotal - compared.suspects.length
  return {
    ...{ outcome: found.length + more === 0 ? 'equal' : 'drift', consumer: sides.consumer },
    ...{ asOf: moment.ledger.takenAt, products: compared.products, likes: compared.likes },
    ...{ found, more, repaired },
  }
}

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
