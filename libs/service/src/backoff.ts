/**
 * Milliseconds to wait before retry number `attempt` (1 = first retry): anywhere from 0 to min(cap, base · 2^(attempt−1)).
 * Full jitter: of the usual variants it spreads a herd of clients best after a common outage
 * (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). `random` yields [0, 1), as Math.random.
 */
export function backoffMs(options: {
  attempt: number
  baseMs: number
  capMs: number
  random: () => number
}): number {
  const { attempt, baseMs, capMs, random } = options
  const ceilingMs = Math.min(capMs, baseMs * 2 ** Math.max(0, attempt - 1))
  return Math.floor(random() * ceilingMs)
}
