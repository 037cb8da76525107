import {
  type CommittedEvent,
  type History,
  type Letter,
  type Transaction,
  groupBy,
  nameOf,
} from './history.ts'
import { whyOvertaken } from './log-changes.ts'
import { type FirstCopy, firstCopies, placeOf, textOfRecord } from './log.ts'
import type { Finding } from './verdict.ts'

/** Compares what is on the topic with what became of it. */
export function checkEffects(history: History): Finding[] {
  const { records, transactions } = history
  const firsts = firstCopies(records)
  const steps = stepsOf(transactions)
  const sums = checkSums(history, firsts)
  const unremembered = new Set(
    sums.filter(({ isUnremembered }) => isUnremembered).map((sum) => sum.productId),
  )
  return [
    ...[...steps].flatMap(([id, at]) => checkMemory(id, at, firsts.get(id))),
    ...[...firsts.values()].flatMap((first) =>
      steps.has(first.event.id) || unremembered.has(first.event.productId)
        ? []
        : checkUnhandled(first, history),
    ),
    ...records.flatMap((record) => (record.event === null ? checkUnreadable(record, history) : [])),
    ...checkHandled(history, { steps, firsts }),
    ...sums.map(({ finding }) => finding),
    ...checkCounts(history, new Set(sums.map(({ productId }) => productId))),
  ]
}

/** In which transactions an id was remembered. */
function stepsOf(transactions: readonly Transaction[]): Map<string, number[]> {
  const steps = new Map<string, number[]>()
  transactions.forEach(({ remembered }, step) => {
    for (const id of remembered) steps.set(id, [...(steps.get(id) ?? []), step])
  })
  return steps
}

function checkMemory(id: string, steps: readonly number[], first: FirstCopy | undefined): Finding[] {
  const evidence = steps.map((step) => `transaction ${step} of the consumer handled it`)
  if (first === undefined) {
    return [{ anomaly: 'aborted read', what: `event ${id} was handled, and is not on the topic.`, evidence }]
  }
  if (steps.length <= 1) return []
  const what = `event ${id} of ${nameOf(first.event)} was handled ${steps.length} times.`
  return [{ anomaly: 'duplicate effect', what, evidence: [textOfRecord(first), ...evidence] }]
}

function checkUnhandled(first: FirstCopy, { records, marks, letters }: History): Finding[] {
  const places = new Set(records.filter(({ event }) => event?.id === first.event.id).map(placeOf))
  const letter = letters.find(({ id, ...place }) => id === first.event.id || places.has(placeOf(place)))
  if (letter !== undefined) return checkLetter(letter, first)
  const mark = marks.find(({ partition }) => partition === first.partition)
  const isPassed = mark !== undefined && mark.next > first.offset
  const reached = `partition ${first.partition} is read up to ${mark?.next ?? 0} of ${mark?.end ?? '?'}`
  return [
    {
      anomaly: isPassed ? 'lost write' : 'unseen',
      what: `event ${first.event.id} of ${nameOf(first.event)} is on the topic, and ${isPassed ? 'was passed over' : 'nobody has read it'}.`,
      evidence: [textOfRecord(first), reached],
    },
  ]
}

function checkLetter({ id, reason, discarded, planted }: Letter, first: FirstCopy): Finding[] {
  if (discarded || planted) return []
  const what = `event ${id ?? first.event.id} of ${nameOf(first.event)} is a dead letter, where nothing is wrong with it.`
  return [{ anomaly: 'stuck', what, evidence: [textOfRecord(first), `it is parked as ${reason}`] }]
}

function checkUnreadable(
  record: { partition: number; offset: number },
  { letters, marks }: History,
): Finding[] {
  if (letters.some((letter) => placeOf(letter) === placeOf(record))) return []
  const isPassed = (marks.find(({ partition }) => partition === record.partition)?.next ?? 0) > record.offset
  const what = `record ${placeOf(record)} cannot be decoded, and is kept nowhere.`
  return [{ anomaly: isPassed ? 'lost write' : 'unseen', what, evidence: [`record ${placeOf(record)}`] }]
}

/** The events of a (user, product) have their effects in the order of their commits. */
function checkHandled(
  { events, logChanges }: History,
  {
    steps,
    firsts,
  }: { steps: ReadonlyMap<string, readonly number[]>; firsts: ReadonlyMap<string, FirstCopy> },
): Finding[] {
  const partitionOf = ({ id }: CommittedEvent) => firsts.get(id)?.partition
  const newest = new Map<string, { event: CommittedEvent; step: number }>()
  return events
    .toSorted((a, b) => a.seq - b.seq)
    .flatMap((event): Finding[] => {
      const step = steps.get(event.id)?.[0]
      if (step === undefined) return []
      const before = newest.get(nameOf(event))
      newest.set(nameOf(event), { event, step })
      if (before === undefined || before.step <= step) return []
      const areApart = partitionOf(before.event) !== partitionOf(event)
      return [
        {
          anomaly: 'order',
          excuse: whyOvertaken(logChanges, { event, step, areApart })?.kind,
          what: `${nameOf(event)}: event ${event.seq} had its effect before event ${before.event.seq}.`,
          evidence: [
            `transaction ${step} of the consumer handled event ${event.seq}`,
            `transaction ${before.step} handled event ${before.event.seq}`,
          ],
        },
      ]
    })
}

interface Sum {
  productId: number
  /** It counts more than was remembered, and no more than is on the topic. */
  isUnremembered: boolean
  finding: Finding
}

const verbs = ['added', 'removed'] as const

/** What was counted against what was remembered: they commit together. */
function checkSums({ transactions }: History, firsts: ReadonlyMap<string, FirstCopy>): Sum[] {
  const onTopic = new Map<string, number>()
  const note = (into: Map<string, number>, name: string, by: number) =>
    into.set(name, (into.get(name) ?? 0) + by)
  for (const { event } of firsts.values()) note(onTopic, sumName(event), 1)
  /** By product and verb: in which transactions more or less was counted than remembered, and by how much. */
  const uneven = new Map<string, { step: number; counted: number; remembered: number }[]>()
  const counted = new Map<string, number>()
  transactions.forEach(({ remembered, changes }, step) => {
    const own = new Map<string, { counted: number; remembered: number }>()
    const of = (name: string) => {
      const found = own.get(name) ?? { counted: 0, remembered: 0 }
      own.set(name, found)
      return found
    }
    for (const id of remembered) {
      const first = firsts.get(id)
      if (first) of(sumName(first.event)).remembered += 1
    }
    for (const change of changes) {
      for (const verb of verbs) {
        if (change[verb] !== 0) of(`${change.productId} ${verb}`).counted += change[verb]
      }
    }
    for (const [name, both] of own) {
      note(counted, name, both.counted)
      if (both.counted !== both.remembered) uneven.set(name, [...(uneven.get(name) ?? []), { step, ...both }])
    }
  })
  return [...uneven].map(([name, steps]) => {
    const excess = steps.reduce((sum, step) => sum + step.counted - step.remembered, 0)
    return sumOf(name, { steps, excess, isTooMuch: (counted.get(name) ?? 0) > (onTopic.get(name) ?? 0) })
  })
}

function sumOf(
  name: string,
  sum: {
    steps: readonly { step: number; counted: number; remembered: number }[]
    excess: number
    isTooMuch: boolean
  },
): Sum {
  const [productId = '', verb = ''] = name.split(' ')
  const whats = {
    twice: `product ${productId} has had more ${verb} than there are events.`,
    unequal: `product ${productId}: what was ${verb} and what was remembered as handled were not committed together.`,
  }
  return {
    productId: Number(productId),
    isUnremembered: sum.excess > 0 && !sum.isTooMuch,
    finding: {
      anomaly: sum.isTooMuch ? 'duplicate effect' : 'torn write',
      what: sum.isTooMuch ? whats.twice : whats.unequal,
      evidence: sum.steps.map(
        ({ step, counted, remembered }) =>
          `transaction ${step} of the consumer: ${counted} ${verb}, ${remembered} events remembered`,
      ),
    },
  }
}

const sumName = ({ productId, added }: { productId: number; added: boolean }): string =>
  `${productId} ${added ? 'added' : 'removed'}`

/** What is read as a count is the sum of what was added to it: nothing else writes there. */
function checkCounts({ transactions, counts }: History, told: ReadonlySet<number>): Finding[] {
  const changes = groupBy(
    transactions.flatMap((transaction) => transaction.changes),
    ({ productId }) => productId,
  )
  const found = new Map(counts.map(({ productId, count }) => [productId, count]))
  return [...new Set([...changes.keys(), ...found.keys()])].flatMap((productId): Finding[] => {
    const sum = (changes.get(productId) ?? []).reduce((all, { added, removed }) => all + added - removed, 0)
    const count = found.get(productId) ?? 0
    if (sum === count || told.has(productId)) return []
    const what = `product ${productId} is counted as ${count}, and its changes add up to ${sum}.`
    return [{ anomaly: 'torn write', what, evidence: [`count of product ${productId}: ${count}`] }]
  })
}
