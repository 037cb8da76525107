/** What a process had begun to handle, [from, to), and how many processes have begun it and not finished. */
export interface Start {
  readonly from: bigint
  readonly to: bigint
  readonly starts: number
}

/**
 * At its third start alone a record is parked instead: it has been in hand alone, with nothing else in hand in the
 * whole process, when two processes ended one after the other.
 */
export const startsMax = 3

/**
 * Up to which offset the records go one by one (0: none do), when a partition is taken over. Pure.
 *
 * A note that another process left says that it began there and did not finish. It may have been killed by one of these
 * records, or by a deploy: who handles them one by one will know. One record goes alone in any case, which costs
 * nothing.
 */
export function aloneBelow(
  noted: Start | null,
  own: Start | undefined,
  records: readonly { offset: bigint }[],
): bigint {
  const [first, last] = [records[0]?.offset, records.at(-1)?.offset]
  if (first === undefined || last === undefined) return 0n
  if (first === last) return first + 1n
  const isSuspect = noted !== null && noted.from === first && !isOwn(noted, own)
  return isSuspect ? noted.to : 0n
}

/** What to write down before a record is handled alone, or 'park' at the start that is one too many. Pure. */
export function startAlone(noted: Start | null, own: Start | undefined, offset: bigint): Start | 'park' {
  const alone = { from: offset, to: offset + 1n }
  const before = noted?.from === offset && noted.to === alone.to ? noted.starts : 0
  if (before > 0 && noted !== null && isOwn(noted, own)) return noted // tried again by the process that began it
  return before + 1 >= startsMax ? 'park' : { ...alone, starts: before + 1 }
}

/** A note of this very process, which has lived on: an outage, or a partition that came back to it. */
function isOwn(noted: Start, own: Start | undefined): boolean {
  return own?.from === noted.from && own.to === noted.to && own.starts === noted.starts
}
