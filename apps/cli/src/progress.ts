const barWidth = 24

export interface ProgressState {
  readonly done: number
  readonly total: number
  /** Per second, lately. */
  readonly rate: number
  readonly what: string
}

/** Pure. */
function progressLine({ done, total, rate, what }: ProgressState): string {
  const share = total === 0 ? 1 : Math.min(1, done / total)
  const filled = Math.floor(share * barWidth)
  const left = total - done
  return [
    `  ${'█'.repeat(filled)}${'░'.repeat(barWidth - filled)}`,
    `${String(Math.floor(share * 100)).padStart(3)} %`,
    `${counted(done)} of ${counted(total)} ${what}`,
    rate > 0 ? `${counted(Math.round(rate))}/s` : '',
    left > 0 && rate > 0 ? `${span(left / rate)} left` : '',
  ]
    .filter((part) => part !== '')
    .join('  ')
}

export const counted = (n: number): string => n.toLocaleString('en-US')

/** Of all partitions, for a total. */
export const sumOf = (offsets: readonly bigint[]): bigint => offsets.reduce((sum, offset) => sum + offset, 0n)

function span(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${String(whole)} s`
  if (whole < 3_600) return `${String(Math.floor(whole / 60))} min ${String(whole % 60)} s`
  return `${String(Math.floor(whole / 3_600))} h ${String(Math.floor((whole % 3_600) / 60))} min`
}

/** Where lines go; on a terminal the last one may be written over. */
export interface Output {
  readonly say: (line: string) => void
  /** Absent where there is no terminal, and in its place lines come now and then. */
  readonly overwrite?: (line: string) => void
}

const shownEveryMs = { terminal: 200, lines: 5_000 }
/** A rate over the last seconds: what an outage or a burst was, is soon forgotten. */
const rateOverMs = 5_000

/** Shows how far something is, not too often. */
export function showProgress({ say, overwrite }: Output, what = 'records') {
  const everyMs = overwrite ? shownEveryMs.terminal : shownEveryMs.lines
  let samples: { atMs: number; done: number }[] = []
  let lastMs = -Infinity
  let isOpen = false

  function show(done: number, total: number, atMs: number): void {
    const [first] = samples
    const seconds = first ? (atMs - first.atMs) / 1_000 : 0
    const rate = first && seconds > 0 ? (done - first.done) / seconds : 0
    const line = progressLine({ done, total, rate, what })
    if (overwrite) overwrite(line)
    else say(line)
    isOpen = true
    lastMs = atMs
  }

  return {
    tell(done: number, total: number): void {
      const atMs = performance.now()
      // Until the first record comes, a group is joined: that says nothing of the rate.
      if (samples.at(-1)?.done === done && samples[0]?.done === done) samples = []
      samples = [...samples.filter((sample) => atMs - sample.atMs <= rateOverMs), { atMs, done }]
      if (atMs - lastMs >= everyMs) show(done, total, atMs)
    },
    /** The last state, and the line is left. */
    end(done: number, total: number): void {
      show(done, total, performance.now())
      this.leave()
    },
    /** Something else is said: on a terminal the bar stays above it. */
    leave(): void {
      if (isOpen && overwrite) say('')
      isOpen = false
    },
  }
}
