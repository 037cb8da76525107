import { type LikeEvent, decode } from '@likewise/events'
import type { IncomingRecord } from '@likewise/kafka'
import type { ReadModel } from './read-model.ts'

/** What the topic and the read model say about each other once things are quiet. */
export interface Effects {
  /** Distinct events on the topic, and those that had their effect. */
  events: number
  handled: number
  /** Copies after the first. */
  repeats: number
  /** Records that neither had an effect nor are kept as dead letters (I6, I9). */
  lost: number
  /** Effects of events that are not on the topic. */
  unknown: number
  /** Products whose like_count is not the recount of the topic's events, less those that are parked (I2, I3). */
  miscounted: string[]
  /** Minutes of a product of which the same is true. */
  misplaced: string[]
  /** Events that had their effect although an earlier one of their key is parked (I9). */
  overtaken: number
  /** Events that had their effect before an earlier one of their key (I4). */
  outOfOrder: number
  /** Dead letters that wait, as `reason count`. */
  parked: string[]
  /** Partitions whose mark, or whose group's offset, is not at the end of the log. */
  unread: string[]
}

/** What must be so after every fault. */
export const exact = {
  ...{ lost: 0, unknown: 0, miscounted: [] as string[], misplaced: [] as string[] },
  ...{ overtaken: 0, outOfOrder: 0, parked: [] as string[], unread: [] as string[] },
}

export type TopicRecord = Pick<IncomingRecord, 'offset' | 'key' | 'value' | 'headers'> & { partition: number }

interface First {
  place: string
  event: LikeEvent
}

const minuteMs = 60_000
const placeOf = ({ partition, offset }: { partition: number; offset: bigint }): string =>
  `${String(partition)}/${String(offset)}`

export type TopicLog = ReturnType<typeof buildTopicLog>

/** What is on the topic, record by record; those of a partition in their order. */
export function buildTopicLog() {
  /** The first copy of each event, by its id. */
  const firsts = new Map<string, First>()
  const unreadable: string[] = []
  const told = { repeats: 0 }
  return {
    firsts,
    unreadable,
    told,
    note(record: TopicRecord): void {
      const decoded = decode(record)
      if (decoded.kind === 'foreign') return
      if (decoded.kind === 'refused') unreadable.push(placeOf(record))
      else if (firsts.has(decoded.event.id)) told.repeats += 1
      else firsts.set(decoded.event.id, { place: placeOf(record), event: decoded.event })
    },
  }
}

/** The load must have one writer: only then does the order of a key rise with ce_sequence. */
export function compare({ firsts, unreadable, told }: TopicLog, model: ReadModel): Effects {
  const { steps, letters } = model
  const keptPlaces = new Set(letters.map(placeOf))
  const gone = letters.filter(({ resolution }) => resolution !== 'redriven')
  const goneIds = new Set(gone.flatMap(({ eventId }) => eventId ?? []))
  const all = [...firsts.values()]
  const wanted = all.filter(({ event: { id } }) => steps.has(id) || !goneIds.has(id))
  const missing = wanted.filter(({ event: { id } }) => !steps.has(id))
  return {
    events: firsts.size,
    handled: all.filter(({ event: { id } }) => steps.has(id)).length,
    ...told,
    lost: missing.length + unreadable.filter((place) => !keptPlaces.has(place)).length,
    unknown: [...steps.keys()].filter((id) => !firsts.has(id)).length,
    ...recount(wanted, model),
    overtaken: countOvertaken(all, model),
    outOfOrder: countOutOfOrder(all, model),
    parked: countByReason(letters.filter(({ resolution }) => resolution === null)),
    unread: model.unread,
  }
}

function recount(
  wanted: readonly First[],
  { counts, minutes }: ReadModel,
): Pick<Effects, 'miscounted' | 'misplaced'> {
  const counted = new Map<string, number>()
  const placed = new Map<string, { added: number; removed: number }>()
  for (const { event } of wanted) {
    const { productId, createdAt } = event.data
    const isAdded = event.type === 'catalog.like.added.v1'
    counted.set(String(productId), (counted.get(String(productId)) ?? 0) + (isAdded ? 1 : -1))
    const minute = new Date(Math.floor(Date.parse(createdAt) / minuteMs) * minuteMs).toISOString()
    const name = `${String(productId)} at ${minute}`
    const bucket = placed.get(name) ?? { added: 0, removed: 0 }
    bucket[isAdded ? 'added' : 'removed'] += 1
    placed.set(name, bucket)
  }
  const textOf = ({ added, removed }: { added: number; removed: number }) =>
    `+${String(added)} −${String(removed)}`
  const asText = (buckets: ReadonlyMap<string, { added: number; removed: number }>) =>
    new Map([...buckets].map(([name, bucket]) => [name, textOf(bucket)]))
  return {
    miscounted: differences(counted, counts, 0),
    misplaced: differences(asText(placed), asText(minutes), textOf({ added: 0, removed: 0 })),
  }
}

/** In sentences, the first few: a fault may hit all of thousands. */
function differences<T extends number | string>(
  wanted: ReadonlyMap<string, T>,
  found: ReadonlyMap<string, T>,
  nothing: T,
): string[] {
  return [...new Set([...wanted.keys(), ...found.keys()])]
    .map((name) => ({ name, is: found.get(name) ?? nothing, should: wanted.get(name) ?? nothing }))
    .filter(({ is, should }) => is !== should)
    .slice(0, 10)
    .map(({ name, is, should }) => `${name}: ${String(is)} instead of ${String(should)}`)
}

function countOvertaken(all: readonly First[], { steps, letters }: ReadModel): number {
  const blocking = new Map<string, bigint>()
  for (const { key, partition, offset, blocksKey, resolution } of letters) {
    if (key === null || !blocksKey || resolution !== null) continue
    const name = `${String(partition)}/${key}`
    const first = blocking.get(name)
    if (first === undefined || offset < first) blocking.set(name, offset)
  }
  return all.filter(({ place, event }) => {
    const [partition = '', offset = ''] = place.split('/')
    const first = blocking.get(`${partition}/${String(event.data.productId)}`)
    return first !== undefined && BigInt(offset) > first && steps.has(event.id)
  }).length
}

function countOutOfOrder(all: readonly First[], { steps }: ReadModel): number {
  const lastOf = new Map<number, number>()
  let count = 0
  for (const { event } of [...all].sort((a, b) => sequenceOf(a) - sequenceOf(b))) {
    const step = steps.get(event.id)
    if (step === undefined) continue
    const last = lastOf.get(event.data.productId) ?? 0
    if (step < last) count += 1
    lastOf.set(event.data.productId, Math.max(step, last))
  }
  return count
}

const sequenceOf = ({ event }: First): number => Number(event.sequence)

function countByReason(letters: readonly { reason: string }[]): string[] {
  const counts = new Map<string, number>()
  for (const { reason } of letters) counts.set(reason, (counts.get(reason) ?? 0) + 1)
  return [...counts].map(([reason, count]) => `${reason} ${String(count)}`).sort()
}
