/** One measured number. Names, units and this shape are permanent: runs of different days are compared by them. */
export interface Part {
  readonly name: string
  /** Median of the repeats. */
  readonly value: number
  readonly unit: Unit
  /** What the value could be at best on this machine, measured in the same run; null where nothing bounds it. */
  readonly limit: number | null
  readonly limitName: string | null
  /** value / limit */
  readonly ratio: number | null
  readonly repeats: readonly number[]
}

/** `%` is of one core, `B` are bytes on disk for one of what the part is named after. */
export type Unit = '1/s' | 'ms' | 'MB' | 's' | '%' | 'B'

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryMb: number
  readonly os: string
  readonly node: string
  readonly postgres: string
  readonly kafka: string
  /** Whose servers: containers, embedded, or named in the environment. */
  readonly servers: string
  readonly durability: string
}

export interface Report {
  readonly machine: Machine
  readonly date: string
  readonly commit: string
  readonly parts: readonly Part[]
}

/** The middle one; of an even number the mean of the middle two. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle]
  if (upper === undefined) throw new RangeError('There is no median of nothing.')
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2
}

/** The value below which a share (0 to 1) of the values lies, by nearest rank. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const found = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]
  if (found === undefined) throw new RangeError('There is no percentile of nothing.')
  return found
}

export function partOf(
  name: string,
  unit: Unit,
  repeats: readonly number[],
  limit?: { name: string; repeats: readonly number[] },
): Part {
  const value = rounded(median(repeats))
  const bound = limit === undefined ? null : rounded(median(limit.repeats))
  return {
    name,
    value,
    unit,
    limit: bound,
    limitName: limit?.name ?? null,
    ratio: bound === null ? null : Number((value / bound).toFixed(3)),
    repeats: repeats.map(rounded),
  }
}

/** The parts as aligned text. CPU seconds stand beside a rate as well: on a shared machine they drift far less. */
export function tableOf(parts: readonly Part[]): string {
  const head = ['part', 'value', 'unit', 'limit', 'ratio', 'cpu s/100k', 'repeats', 'what the limit is']
  const rows = parts.map((part) => [
    part.name,
    shown(part.value),
    part.unit,
    part.limit === null ? '' : shown(part.limit),
    part.ratio === null ? '' : part.ratio.toFixed(2),
    cpuBeside(part, parts),
    part.repeats.map(shown).join(' '),
    part.limitName ?? '',
  ])
  const widths = head.map((_, column) =>
    Math.max(...[head, ...rows].map((row) => (row[column] ?? '').length)),
  )
  const numeric = new Set([1, 3, 4, 5])
  const line = (row: readonly string[]) =>
    row
      .map((text, column) =>
        numeric.has(column) ? text.padStart(widths[column] ?? 0) : text.padEnd(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd()
  return [head, ...rows].map(line).join('\n')
}

export function conditionsOf({ machine, date, commit }: Omit<Report, 'parts'>): string {
  const { cpu, cores, memoryMb, os, node, postgres, kafka, servers, durability } = machine
  return [
    `machine     ${cpu}, ${String(cores)} cores, ${String(memoryMb)} MB, ${os}`,
    `software    Node ${node}, PostgreSQL ${postgres}, Kafka ${kafka} (${servers})`,
    `durability  ${durability}`,
    `commit      ${commit}, ${date}`,
  ].join('\n')
}

function cpuBeside(part: Part, parts: readonly Part[]): string {
  if (!part.name.includes('.drain')) return ''
  const cpu = parts.find(({ name }) => name === part.name.replace('.drain', '.cpu'))
  return cpu === undefined ? '' : shown(cpu.value)
}

/** Three digits or more: beyond them lies noise. */
const rounded = (value: number): number => (value >= 100 ? Math.round(value) : Number(value.toPrecision(3)))

const shown = (value: number): string => (value >= 100 ? value.toFixed(0) : String(value))
