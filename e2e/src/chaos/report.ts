import { explain } from '../checker/verdict.ts'
import { nameOf } from './plan.ts'
import type { ChaosResult, Injected } from './run.ts'

/** A line for each kind of fault: how often it was injected, and in what time the whole way worked again. */
export function tableOf(injected: readonly Injected[]): string {
  const kinds = [...new Set(injected.map(({ fault }) => nameOf(fault)))].sort()
  const rows = kinds.map((kind) => {
    const own = injected.filter(({ fault }) => nameOf(fault) === kind)
    const times = own.flatMap(({ recoveredMs }) => recoveredMs ?? []).sort((a, b) => a - b)
    const [median, most] = [times[times.length >> 1], times.at(-1)]
    const missed = own.filter((one) => one.missed !== undefined).length
    const failed = own.length - times.length - missed
    const notes = [
      failed > 0 ? `${failed} not recovered` : [],
      missed > 0 ? `${missed} more not injected` : [],
    ]
    return [kind, String(own.length - missed), secondsOf(median), secondsOf(most), notes.flat().join(', ')]
  })
  const all = [['fault', 'injected', 'recovered in (median)', '(most)', ''], ...rows]
  const widths = [0, 1, 2, 3].map((column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  return all
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

const secondsOf = (ms: number | undefined): string =>
  ms === undefined ? '–' : `${(ms / 1_000).toFixed(1)} s`

/** The verdict, and on failure what is needed to look at it again. */
export function verdictOf(
  { verdict, quietMs, restless }: ChaosResult,
  { boundMs, again, file }: { boundMs: number; again: string; file: string | null },
): string {
  const bound = `${boundMs / 1_000} s`
  const quiet =
    quietMs === null
      ? [`Not quiet within ${bound}: ${restless.slice(0, 5).join('; ')}.`]
      : [`Quiet after ${secondsOf(quietMs)} (bound ${bound}).`]
  const failed = file === null ? [] : [`History: ${file}`, `Again: ${again}`]
  return [...quiet, explain(verdict), ...failed].join('\n')
}
