import type { LogChange } from './history.ts'

/**
 * What may have gone wrong, by Jepsen's names where it has one (docs/chaos.md explains each). `order` stands for its
 * non-monotonic sends and polls.
 */
export const anomalies = [
  'lost write',
  'aborted read',
  'duplicate effect',
  'torn write',
  'order',
  'stuck',
  'unseen',
] as const
export type Anomaly = (typeof anomalies)[number]

export interface Finding {
  readonly anomaly: Anomaly
  /** A sentence. */
  readonly what: string
  /** What shows it, in the order in which it happened. */
  readonly evidence: readonly string[]
  /** What was done to the topic explains it: it is counted, and no anomaly. */
  readonly excuse?: LogChange['kind'] | undefined
}

export interface Verdict {
  readonly findings: readonly Finding[]
  readonly facts: {
    readonly requests: number
    /** Requests answered 2xx, and those of which nobody knows. */
    readonly done: number
    readonly unknown: number
    readonly events: number
    readonly records: number
    /** Records that are copies of an earlier one. */
    readonly copies: number
    readonly transactions: number
    /** (user, product)s with so many unanswered requests that their answers were not put in order. */
    readonly undecided: number
    /** Orders that do not hold, and are explained by what was done to the topic. */
    readonly excused: number
  }
}

export const isRight = ({ findings }: Verdict): boolean => findings.length === 0

/** The finding that needs the fewest words; of equals the one that comes first in the list above. */
export function shortest({ findings }: Verdict): Finding | undefined {
  return [...findings].sort(
    (a, b) =>
      a.evidence.length - b.evidence.length ||
      anomalies.indexOf(a.anomaly) - anomalies.indexOf(b.anomaly) ||
      a.what.length - b.what.length,
  )[0]
}

/** The anomalies that were found, with how often. */
export function countByName({ findings }: Verdict): Map<Anomaly, number> {
  const counts = new Map<Anomaly, number>()
  for (const { anomaly } of findings) counts.set(anomaly, (counts.get(anomaly) ?? 0) + 1)
  return counts
}

/** For a person: what was looked at, and either that it holds or what was found, with the shortest explanation. */
export function explain(verdict: Verdict): string {
  const { facts } = verdict
  const looked =
    `${facts.requests} requests (${facts.done} answered 2xx, ${facts.unknown} unknown), ${facts.events} events, ` +
    `${facts.records} records (${facts.copies} copies), ${facts.transactions} transactions of the consumer`
  const undecided =
    facts.undecided === 0
      ? []
      : [
          `The answers of ${facts.undecided} (user, product)s have too many unknown among them to be put in order.`,
        ]
  const excused =
    facts.excused === 0
      ? []
      : [
          `${facts.excused} times two events of a (user, product) lie apart or out of order, as partitions were added or the topic was made again.`,
        ]
  const found = shortest(verdict)
  if (found === undefined) return [`Valid: ${looked}.`, ...undecided, ...excused].join('\n')
  const counts = [...countByName(verdict)].map(([anomaly, count]) => `${count} × ${anomaly}`)
  return [
    `INVALID: ${counts.join(', ')}; ${looked}.`,
    ...undecided,
    ...excused,
    `The shortest explanation, ${found.anomaly}: ${found.what}`,
    ...found.evidence.map((line) => `  - ${line}`),
  ].join('\n')
}
