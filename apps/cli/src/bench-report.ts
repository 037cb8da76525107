import { readFileSync } from 'node:fs'
import { Failure } from '@likewise/service'
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { Check } from 'typebox/value'
import { type Figures, figureNames } from './sizing.ts'

/** What is read of the file that `npm run bench -- --json FILE` writes. */
export const BenchReport = Type.Object({
  machine: Type.Object({
    cpu: Type.String(),
    cores: Type.Number(),
    memoryMb: Type.Number(),
    node: Type.String(),
    postgres: Type.String(),
    kafka: Type.String(),
  }),
  date: Type.String(),
  commit: Type.String(),
  parts: Type.Array(Type.Object({ name: Type.String(), value: Type.Number({ exclusiveMinimum: 0 }) })),
})
export type BenchReport = Static<typeof BenchReport>

/** Throws CONFIG_INVALID with what to do. */
export function readBenchReport(path: string): BenchReport {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw invalid(path, 'cannot be read', cause)
  }
  let report: unknown
  try {
    report = JSON.parse(text)
  } catch (cause) {
    throw invalid(path, 'is not JSON', cause)
  }
  if (!Check(BenchReport, report)) throw invalid(path, 'is not a report of the benchmark')
  if (!report.parts.some(({ name }) => isFigure(name)))
    throw invalid(path, `has none of the parts that are needed (${figureNames.join(', ')})`)
  return report
}

/** The report's figures, and those of the other one where it has none. */
export function figuresOf(
  report: BenchReport,
  other: BenchReport,
): { figures: Figures; taken: readonly string[] } {
  const measured = new Map(report.parts.map(({ name, value }) => [name, value]))
  const known = new Map(other.parts.map(({ name, value }) => [name, value]))
  const taken = figureNames.filter((name) => !measured.has(name))
  const figures = Object.fromEntries(
    figureNames.map((name) => [name, measured.get(name) ?? known.get(name) ?? Number.NaN]),
  ) as Figures
  return { figures, taken }
}

const isFigure = (name: string): boolean => figureNames.some((figure) => figure === name)

function invalid(path: string, what: string, cause?: unknown): Failure {
  return new Failure(
    'CONFIG_INVALID',
    `${path} ${what}. Make it by: npm run bench -- relay.drain consumer api storage --json ${path}`,
    { cause },
  )
}
