/** Who reads and sends a page now. */
export interface Turns {
  take(): Promise<Turn>
  /** Somebody waits for a turn. */
  areWanted(): boolean
}

export interface Turn {
  /** Lets the next one begin; more often than once does nothing. */
  readonly end: () => void
}

/**
 * Lets `max` pages of different shards be read and sent at a time, in the order of asking, which keeps most of a backlog out
 * of memory. A turn ends by itself after `limitMs`, and where its send fails: a partition that is slow or without a leader
 * holds up no other. (Its page stays in memory, so the bound is a page or two of each shard.)
 */
export function buildTurns(max: number, limitMs: number): Turns {
  let free = max
  const waiting: (() => void)[] = []

  function end(): void {
    const next = waiting.shift()
    if (next) next()
    else free += 1
  }
  return {
    async take() {
      if (free > 0) free -= 1
      else await new Promise<void>((resolve) => waiting.push(resolve))
      let ended = false
      const endOnce = (): void => {
        clearTimeout(timer)
        if (!ended) end()
        ended = true
      }
      const timer = setTimeout(endOnce, limitMs)
      return { end: endOnce }
    },
    areWanted: () => waiting.length > 0,
  }
}
