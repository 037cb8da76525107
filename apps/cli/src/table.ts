/** Columns as wide as their widest cell, for a terminal. Pure. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)))
  const line = (cells: readonly string[]) =>
    `  ${cells.map((c, i) => c.padEnd(widths[i] ?? 0)).join('  ')}`.trimEnd()
  return [line(head), ...rows.map(line)]
}

export function age(ms: number): string {
  const s = ms / 1000
  if (s < 1) return `${ms.toFixed(0)} ms`
  if (s < 120) return `${s.toFixed(1)} s`
  return s < 7200 ? `${(s / 60).toFixed(0)} min` : `${(s / 3600).toFixed(1)} h`
}
