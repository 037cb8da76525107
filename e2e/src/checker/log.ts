import { textOfChange, textOfEvent } from './answers.ts'
import { type CommittedEvent, type History, type LogRecord, nameOf } from './history.ts'
import { whyMisplaced } from './log-changes.ts'
import type { Finding } from './verdict.ts'

/** A record of an event: its first copy. */
export type FirstCopy = LogRecord & { readonly event: NonNullable<LogRecord['event']> }

/** The first copy of each event, by its id, in the order of the log. */
export function firstCopies(records: readonly LogRecord[]): Map<string, FirstCopy> {
  const firsts = new Map<string, FirstCopy>()
  for (const record of records) {
    if (record.event !== null && !firsts.has(record.event.id)) {
      firsts.set(record.event.id, { ...record, event: record.event })
    }
  }
  return firsts
}

/** Compares what was committed with what is on the topic. */
export function checkLog({ events, records, letters, logChanges }: History): Finding[] {
  const firsts = firstCopies(records)
  const committed = new Map(events.map((event) => [event.id, event]))
  const planted = new Set(letters.flatMap(({ id, planted }) => (planted && id !== null ? [id] : [])))
  return [
    ...events.flatMap((event) => (planted.has(event.id) ? [] : checkArrival(event, firsts.get(event.id)))),
    ...[...firsts.values()].flatMap((first) => checkOrigin(first, committed.get(first.event.id))),
    ...checkSends({ events, logChanges }, firsts),
  ]
}

function checkArrival(event: CommittedEvent, first: FirstCopy | undefined): Finding[] {
  const { id, seq, status } = event
  if (status === 'DISCARDED' || (status === 'PUBLISHED' && first !== undefined)) return []
  if (status === 'PUBLISHED') {
    return [
      {
        anomaly: 'lost write',
        what: `event ${seq} of ${nameOf(event)} is told as published, and is not on the topic.`,
        evidence: [textOfEvent(event)],
      },
    ]
  }
  return [
    {
      anomaly: 'stuck',
      what: `event ${id} of ${nameOf(event)} ${status === 'PARKED' ? 'is parked in the outbox, where nothing is wrong with it' : 'is not published'}.`,
      evidence: [textOfEvent(event), ...(first ? [`it is on the topic at ${placeOf(first)}`] : [])],
    },
  ]
}

function checkOrigin(first: FirstCopy, event: CommittedEvent | undefined): Finding[] {
  if (event === undefined) {
    return [
      {
        anomaly: 'aborted read',
        what: `event ${first.event.id} of ${nameOf(first.event)} is on the topic, and nobody committed it.`,
        evidence: [textOfRecord(first)],
      },
    ]
  }
  if (nameOf(first.event) === nameOf(event) && first.event.added === event.added) return []
  return [
    {
      anomaly: 'torn write',
      what: `the record of event ${event.seq} says something else than was committed.`,
      evidence: [`${textOfEvent(event)} of ${nameOf(event)}`, textOfRecord(first)],
    },
  ]
}

/** First copies of a (user, product) lie in one partition, in the order of their commits. */
function checkSends(
  { events, logChanges }: Pick<History, 'events' | 'logChanges'>,
  firsts: ReadonlyMap<string, FirstCopy>,
): Finding[] {
  const newest = new Map<string, { event: CommittedEvent; first: FirstCopy }>()
  return events
    .toSorted((a, b) => a.seq - b.seq)
    .flatMap((event): Finding[] => {
      const first = firsts.get(event.id)
      if (first === undefined) return []
      const before = newest.get(nameOf(event))
      newest.set(nameOf(event), { event, first })
      if (before === undefined) return []
      const areApart = before.first.partition !== first.partition
      if (!areApart && before.first.offset < first.offset) return []
      const how = areApart ? 'in another partition than' : 'before'
      return [
        {
          anomaly: 'order',
          excuse: whyMisplaced(logChanges, { event, areApart })?.kind,
          what: `${nameOf(event)}: event ${event.seq} lies on the topic ${how} event ${before.event.seq}.`,
          evidence: [textOfRecord(first), textOfRecord(before.first)],
        },
      ]
    })
}

export const placeOf = ({ partition, offset }: { partition: number; offset: number }): string =>
  `${partition}/${offset}`

export const textOfRecord = ({ event, ...place }: LogRecord): string =>
  `record ${placeOf(place)}: ${event === null ? 'cannot be decoded' : `${textOfChange(event)} of ${nameOf(event)} (${event.id})`}`
