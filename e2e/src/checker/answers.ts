import { type Change, type CommittedEvent, type History, type Request, groupBy, nameOf } from './history.ts'
import type { Finding } from './verdict.ts'

/** So many ways to put one pair's answers in order are tried; a pair with more unknown answers at once is left undecided. */
const triesMax = 20_000

interface PairHistory {
  readonly name: string
  readonly requests: readonly Request[]
  readonly events: readonly CommittedEvent[]
  readonly isLiked: boolean
}

/**
 * Compares what clients were told with what was committed. A (user, product) is a register with two values: there must be
 * an order of its requests, each between its call and its answer, in which every answer is the right one and exactly the
 * committed events happen (linearizability). The simple cases are told by their own names first.
 */
export function checkAnswers(history: History): { findings: Finding[]; undecided: number } {
  const findings: Finding[] = []
  let undecided = 0
  for (const pair of pairsOf(history)) {
    const found = checkRow(pair) ?? checkNumbers(pair) ?? checkOrder(pair)
    if (found === 'undecided') undecided += 1
    else if (found !== undefined) findings.push(found)
  }
  return { findings, undecided }
}

function* pairsOf({ requests, events, likes }: History): Iterable<PairHistory> {
  const requestsOf = groupBy(requests, nameOf)
  const eventsOf = groupBy(events, nameOf)
  const liked = new Set(likes.map(nameOf))
  for (const name of new Set([...requestsOf.keys(), ...eventsOf.keys(), ...liked])) {
    yield {
      name,
      requests: (requestsOf.get(name) ?? []).toSorted((a, b) => a.beganMs - b.beganMs),
      events: (eventsOf.get(name) ?? []).toSorted((a, b) => a.seq - b.seq),
      isLiked: liked.has(name),
    }
  }
}

/** A like and its event are one transaction: they say the same, and events say by turns that it came and went. */
function checkRow({ name, events, isLiked }: PairHistory): Finding | undefined {
  const is = isLiked ? 'is in the table' : 'is not in the table'
  const sum = events.reduce((all, { added }) => all + (added ? 1 : -1), 0)
  const odd = events.findIndex(({ added }, i) => added === (i % 2 !== 0))
  if (odd < 0 && sum === (isLiked ? 1 : 0)) return undefined
  const around = odd < 0 ? events.slice(-1) : events.slice(Math.max(0, odd - 1), odd + 1)
  const evidence = around.length > 0 ? around.map(textOfEvent) : ['there is no event']
  if (sum === (isLiked ? 1 : 0)) {
    return {
      anomaly: 'order',
      what: `${name}: its events do not say by turns that it came and went.`,
      evidence,
    }
  }
  if (sum > 1)
    return { anomaly: 'duplicate effect', what: `${name}: two events in a row say the same.`, evidence }
  return { anomaly: 'torn write', what: `${name}: the like ${is}, and its events say otherwise.`, evidence }
}

/** More events than somebody can have caused, or fewer than were acknowledged. */
function checkNumbers({ name, requests, events }: PairHistory): Finding | undefined {
  for (const added of [true, false]) {
    const happened = events.filter((event) => event.added === added)
    const asked = requests.filter(({ liked }) => liked === added)
    const promised = asked.filter(({ answer, changed }) => answer === 'done' && changed === true)
    const possible = asked.filter(
      ({ answer, changed }) => answer === 'unknown' || (answer === 'done' && changed),
    )
    if (happened.length < promised.length) {
      return {
        anomaly: 'lost write',
        what: `${name}: ${promised.length} ${added ? 'likes' : 'unlikes'} were acknowledged as new, and ${happened.length} are committed.`,
        evidence: [...promised.map(textOfRequest), ...happened.map(textOfEvent)],
      }
    }
    if (happened.length <= possible.length) continue
    return {
      anomaly: possible.length === 0 ? 'aborted read' : 'duplicate effect',
      what: `${name}: ${happened.length} ${added ? 'likes' : 'unlikes'} are committed, and ${possible.length} can have been.`,
      evidence: [...asked.map(textOfRequest), ...happened.map(textOfEvent)],
    }
  }
  return undefined
}

function checkOrder({ name, requests, events }: PairHistory): Finding | 'undecided' | undefined {
  const heard = requests.filter(({ answer }) => answer !== 'refused')
  const outcome = fits(heard, events.length)
  if (outcome !== 'no') return outcome === 'undecided' ? 'undecided' : undefined
  // The first answers that cannot be explained say it; what came after them adds nothing.
  const answered = heard.filter(({ endedMs }) => endedMs !== undefined)
  const ends = answered.map(({ endedMs = 0 }) => endedMs).sort((a, b) => a - b)
  const until = ends.find((endMs) => fits(upTo(heard, endMs), null) === 'no')
  const told = until === undefined ? heard : upTo(heard, until)
  // That there was nothing to change, although nothing had changed it: what it stood for is gone.
  const isUnfounded = told.some(({ changed }) => changed === false)
  return {
    anomaly: isUnfounded ? 'lost write' : 'order',
    what: `${name}: no order of its requests explains these answers${until === undefined ? ' and the committed events' : ''}.`,
    evidence: [...told.map(textOfRequest), ...(until === undefined ? events.map(textOfEvent) : [])],
  }
}

/** What had been asked by then; an answer that came later had not come. */
const upTo = (requests: readonly Request[], endMs: number): Request[] =>
  requests
    .filter(({ beganMs }) => beganMs <= endMs)
    .map((one) => {
      if ((one.endedMs ?? Infinity) <= endMs) return one
      const { endedMs: _e, changed: _c, ...open } = one
      return { ...open, answer: 'unknown' as const }
    })

/**
 * Looks for an order (after Wing and Gong). `changes`: how many events there must be in the end; null where that is not
 * known yet. Requests without an answer may happen at any time after their call, or never.
 */
function fits(requests: readonly Request[], changes: number | null): 'yes' | 'no' | 'undecided' {
  const all = requests.map((request) => ({
    ...request,
    // Whoever has no certain answer may still be waiting in the database.
    endMs: request.answer === 'done' ? (request.endedMs ?? Infinity) : Infinity,
  }))
  const seen = new Set<string>()
  let tries = 0
  const isComplete = (left: ReadonlySet<number>, happened: number): boolean =>
    (changes === null || happened === changes) && [...left].every((i) => all[i]?.answer === 'unknown')

  function search(left: ReadonlySet<number>, happened: number): boolean {
    if (isComplete(left, happened)) return true
    if (changes !== null && happened > changes) return false
    const state = `${[...left].join()}:${happened}`
    if (seen.has(state) || (tries += 1) > triesMax) return false
    seen.add(state)
    const firstEndMs = Math.min(...[...left].map((i) => all[i]?.endMs ?? Infinity))
    for (const i of left) {
      const one = all[i]
      if (one === undefined || one.beganMs > firstEndMs) continue
      const doesChange = one.liked === (happened % 2 === 0)
      if (one.answer === 'done' && one.changed !== doesChange) continue
      if (one.answer === 'unknown' && !doesChange) continue // as good as never
      const rest = new Set(left)
      rest.delete(i)
      if (search(rest, happened + (doesChange ? 1 : 0))) return true
    }
    return false
  }
  if (search(new Set(all.keys()), 0)) return 'yes'
  return tries > triesMax ? 'undecided' : 'no'
}

const textOfRequest = ({ liked, beganMs, endedMs, answer, changed }: Request): string => {
  const told = answer === 'done' ? `done, ${changed ? 'changed' : 'nothing to change'}` : answer
  const when = `${Math.round(beganMs)} to ${endedMs === undefined ? '?' : Math.round(endedMs)} ms`
  return `request ${liked ? 'like' : 'unlike'}, ${when}: ${told}`
}

export const textOfEvent = ({ seq, id, added, status }: CommittedEvent): string =>
  `event ${seq} (${id}): ${textOfChange({ added })}, ${status}`

export const textOfChange = ({ added }: Pick<Change, 'added'>): string => (added ? 'like' : 'unlike')
