import type { StoryResult, Table } from './story.ts'

const width = 100
const indent = '  '
const gap = '  '

/** A story's beginning: its title and what it is about. Pure, as all here. */
export function showOpening(title: string, text: string): string {
  return ['', title, '-'.repeat(title.length), ...wrap(text)].join('\n')
}

/** A story's end: the table and the verdict. */
export function showResult(result: StoryResult): string {
  if (result.kind === 'skipped') return ['', ...wrap(`- Skipped: ${result.why}`)].join('\n')
  const { table, listing, holds, verdict } = result
  return [
    '',
    ...showTable(table),
    ...(listing ? ['', ...wrap(listing.title), ...showTable(listing.table)] : []),
    '',
    ...wrap(`${holds ? '✓' : '✗'} ${verdict}`),
  ].join('\n')
}

/** The last line: what held, what did not, what was skipped. */
export function showSummary(results: readonly StoryResult[], seconds: number): string {
  const names = (wanted: (result: StoryResult) => boolean) =>
    results
      .filter(wanted)
      .map(({ title }) => title)
      .join(', ')
  const broken = names((result) => result.kind === 'told' && !result.holds)
  const skipped = names((result) => result.kind === 'skipped')
  const held = results.filter((result) => result.kind === 'told' && result.holds).length
  const parts = [
    `${held} of ${results.length} stories hold`,
    ...(broken === '' ? [] : [`not so: ${broken}`]),
    ...(skipped === '' ? [] : [`skipped: ${skipped}`]),
  ]
  return `\n${parts.join('; ')} (${seconds.toFixed(0)} s).`
}

/** Columns as wide as they need; the last one gives way where a line would be too long. */
function showTable({ head, rows }: Table): string[] {
  const last = head.length - 1
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)))
  const others = widths.slice(0, last).reduce((sum, columns) => sum + columns + gap.length, indent.length)
  widths[last] = Math.min(widths[last] ?? 0, width - others)
  const cell = (text: string, i: number) => lastOf(text, widths[i] ?? 0).padEnd(widths[i] ?? 0)
  const line = (cells: readonly string[]) => `${indent}${cells.map(cell).join(gap)}`.trimEnd()
  return [line(head), line(widths.map((columns) => '-'.repeat(columns))), ...rows.map(line)]
}

/** Of a long text its end: that is where an error says what happened. */
const lastOf = (text: string, columns: number): string =>
  text.length <= columns ? text : `…${text.slice(text.length - columns + 1)}`

function wrap(text: string): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(/\s+/)) {
    if (line !== '' && indent.length + line.length + 1 + word.length > width) {
      lines.push(indent + line)
      line = word
    } else {
      line = line === '' ? word : `${line} ${word}`
    }
  }
  return [...lines, indent + line]
}
