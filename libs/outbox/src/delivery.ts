import type { Failure } from '@likewise/service'
import type { OutboxEvent } from './page.ts'

/** What of a shard's events is not simply sent. */
export interface HeldBack {
  /** Keys with a parked event: what follows in the key parks behind it. */
  readonly keys: Set<string>
  /** Seqs that somebody discarded; they come by again in a republish only. */
  readonly discarded: ReadonlySet<string>
}

/** An event that is to be parked instead of sent. */
export interface Parking {
  readonly seq: string
  /** `refused`: the broker does not take it. `behind`: it waits behind a refused event of its key. */
  readonly reason: 'refused' | 'behind'
  readonly detail: string
  readonly attempts: number
}

/** What became of the first `done` events of a page: acknowledged, parked, or discarded long ago. */
export interface Delivered {
  readonly done: number
  readonly parked: readonly Parking[]
}

export interface Delivery {
  publish: (events: readonly OutboxEvent[]) => Promise<void>
  /** How the broker's answer counts: an outage is waited out, a refusal may be the event's own fault. */
  isRefusal: (failure: unknown) => failure is Failure
  /** So often a refused event is tried before it is parked. */
  attemptsMax: number
  /** False once nothing may be sent any more: the lease is gone, or the relay stops. */
  mayGoOn: () => boolean
  /** Called after each send that failed and is not simply halved: writes it down and pauses. Rejects with a bug. */
  onFailure: (error: unknown) => Promise<void>
}

/**
 * Sends the first events of a page, in order, until the broker has them. Outages are retried for ever. Kafka refuses a
 * page as a whole, so one that is refused is halved, down to the event that it is about; that one is parked, with its
 * key's later events behind it, and all other keys flow.
 *
 * `heldBack` learns the keys that are parked here. The caller makes the parking lasting before it sends anything more.
 *
 * @returns null when nothing more may be sent.
 */
export async function deliver(
  page: readonly OutboxEvent[],
  heldBack: HeldBack,
  delivery: Delivery,
): Promise<Delivered | null> {
  const sendable = page.filter((event) => !isHeldBack(event, heldBack))
  let count = sendable.length
  let refusals = 0
  while (delivery.mayGoOn()) {
    const sent = sendable.slice(0, count)
    // Everything before the first event that is not sent with these; the rest gets its turn after them.
    const next = sendable[count]
    const done = next === undefined ? page.length : page.indexOf(next)
    const answer = await attempt(sent, delivery)
    if (answer === 'acknowledged') return { done, parked: behind(page.slice(0, done), heldBack) }
    if (!delivery.isRefusal(answer)) await delivery.onFailure(answer)
    else if (count > 1) count = Math.ceil(count / 2)
    else {
      refusals += 1
      const [event] = sent as [OutboxEvent]
      if (refusals < delivery.attemptsMax) await delivery.onFailure(answer)
      else return park(event, { page: page.slice(0, done), heldBack, detail: answer.message, refusals })
    }
  }
  return null
}

async function attempt(events: readonly OutboxEvent[], { publish }: Delivery): Promise<unknown> {
  if (events.length === 0) return 'acknowledged'
  try {
    await publish(events)
    return 'acknowledged'
  } catch (error) {
    return error
  }
}

function park(
  event: OutboxEvent,
  refused: { page: readonly OutboxEvent[]; heldBack: HeldBack; detail: string; refusals: number },
): Delivered {
  const { page, heldBack, detail, refusals } = refused
  const others = behind(page, heldBack)
  heldBack.keys.add(event.partitionKey)
  const parking: Parking = { seq: event.seq, reason: 'refused', detail, attempts: refusals }
  return { done: page.length, parked: [parking, ...others] }
}

const isHeldBack = ({ seq, partitionKey }: OutboxEvent, { keys, discarded }: HeldBack): boolean =>
  keys.has(partitionKey) || discarded.has(seq)

function behind(page: readonly OutboxEvent[], { keys, discarded }: HeldBack): Parking[] {
  return page
    .filter(({ seq, partitionKey }) => keys.has(partitionKey) && !discarded.has(seq))
    .map(({ seq }) => ({
      seq,
      reason: 'behind',
      detail: 'Waits for the events of its key before it.',
      attempts: 0,
    }))
}
