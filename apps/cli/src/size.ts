import { type Command, InvalidArgumentError } from 'commander'
import { retentionDaysMax } from '@likewise/outbox'
import { figuresOf, readBenchReport } from './bench-report.ts'
import { type Say, wholeNumber } from './catalog.ts'
import { shippedFigures } from './shipped-figures.ts'
import { type Demand, assumptions, sizeOf } from './sizing.ts'
import { showSizing } from './sizing-view.ts'

interface Options extends Omit<Demand, 'peakPerSecond' | 'outboxDays' | 'connectionsMax'> {
  peak?: number
  retention: number
  maxConnections: number
  bench?: string
  json?: true
}

/** The busiest minutes have so many times the likes of the average, unless told. */
const peakFactor = 3

export function addSizeCommand(program: Command, say: Say): void {
  program
    .command('size')
    .description(
      'how many processes, connections and bytes so many likes need: a model, from what was measured',
    )
    .requiredOption('--likes-per-second <n>', 'likes and unlikes, on average over a day', rate)
    .option(
      '--peak <n>',
      `likes and unlikes per second in the busiest minutes; ${String(peakFactor)} times the average unless set`,
      rate,
    )
    .option('--products <n>', 'products that are liked', wholeNumber(999_999_999), 100_000)
    .option('--retention <days>', 'RELAY_RETENTION_DAYS of the relays', wholeNumber(retentionDaysMax), 7)
    .option('--replication <n>', 'copies of each partition of Kafka', wholeNumber(9), 3)
    .option('--max-connections <n>', 'of PostgreSQL', wholeNumber(100_000), 100)
    .option('--bench <file>', 'figures of your own machine, as npm run bench -- --json FILE writes them')
    .option('--json', 'machine-readable')
    .action((options: Options, command: Command) => {
      const peak = options.peak ?? options.likesPerSecond * peakFactor
      if (peak < options.likesPerSecond)
        command.error("error: option '--peak <n>' is below the average of --likes-per-second.")
      say(sized({ ...options, peak }))
    })
}

function sized(options: Options & { peak: number }): string {
  const { likesPerSecond, products, replication, bench } = options
  const report = bench === undefined ? shippedFigures : readBenchReport(bench)
  const { figures, taken } = figuresOf(report, shippedFigures)
  const demand = {
    likesPerSecond,
    products,
    replication,
    peakPerSecond: options.peak,
    outboxDays: options.retention,
    connectionsMax: options.maxConnections,
  }
  const sizing = sizeOf(demand, figures)
  if (!options.json) return showSizing(sizing, { report, taken })
  const { machine, commit, date } = report
  return JSON.stringify({ ...sizing, assumptions, figures, measured: { machine, commit, date, taken } })
}

const rateMax = 1_000_000

/** Above zero, with a fraction where it is small. */
function rate(text: string): number {
  const value = Number(text)
  if (!/^\d{1,7}(\.\d{1,3})?$/.test(text) || value <= 0 || value > rateMax)
    throw new InvalidArgumentError(`It must be a number above 0, ${String(rateMax)} at most.`)
  return value
}
