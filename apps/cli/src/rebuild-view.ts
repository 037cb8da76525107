import type { RebuildState } from '@likewise/inbox'
import type { Differences } from '@likewise/metrics'
import { counted } from './progress.ts'
import { table } from './table.ts'

// For people. Pure.

/** What a rebuild found, or has put right. */
export function differencesText({ products, buckets, counts, windows }: Differences): string[] {
  if (products === 0 && buckets === 0) return ['Both models say the same.']
  return [
    `${amount(products, 'product')} and ${amount(buckets, 'bucket')} of time differ:`,
    ...(counts.length === 0
      ? []
      : table(
          ['product', 'live', 'rebuilt', 'off by'],
          counts.map(({ productId, live, rebuilt }) => [
            String(productId),
            String(live),
            String(rebuilt),
            signed(rebuilt - live),
          ]),
        )),
    ...more(products, counts.length, 'product'),
    ...(windows.length === 0
      ? []
      : table(
          ['product', 'from', 'for a', 'live', 'rebuilt'],
          windows.map(({ productId, from, resolution, live, rebuilt }) => [
            String(productId),
            from.toISOString(),
            resolution,
            sides(live),
            sides(rebuilt),
          ]),
        )),
    ...more(buckets, windows.length, 'bucket'),
  ]
}

const sides = ({ added, removed }: { added: bigint; removed: bigint }): string =>
  `+${String(added)} -${String(removed)}`

const signed = (n: bigint): string => (n > 0n ? `+${String(n)}` : String(n))

const more = (total: number, shown: number, what: string): string[] =>
  total > shown ? [`  … and ${amount(total - shown, `more ${what}`)}`] : []

const amount = (n: number, what: string): string => `${counted(n)} ${what}${n === 1 ? '' : 's'}`

/** What was counted, and what could not be. */
export function countedText({ counted: events, duplicates, unreadable }: RebuildState): string[] {
  return [
    `${amount(Number(events), 'event')} counted, ${amount(Number(duplicates), 'copy').replace('copys', 'copies')} passed over.`,
    ...(unreadable > 0n
      ? [
          `${amount(Number(unreadable), 'record')} cannot be read and ${unreadable === 1n ? 'has' : 'have'} no dead letter: ` +
            'likewise replay parks them.',
        ]
      : []),
  ]
}

export const baseText = ({ snapshotId, topic }: Pick<RebuildState, 'snapshotId' | 'topic'>): string =>
  snapshotId === null
    ? `the beginning of ${topic}`
    : `snapshot ${String(snapshotId)} and what came after it on ${topic}`
