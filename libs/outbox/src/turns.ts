/** How many pages of different shards are read and sent at a time. */
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
 * Bounds the pages in memory, in the order of asking. A page whose send fails ends its turn and goes on trying without one: a
 * partition without a leader holds up no other.
 */
export function buildTurns(max: number): Turns {
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
      return {
        end: () => {
          if (!ended) end()
          ended = true
        },
      }
    },
    areWanted: () => waiting.length > 0,
  }
}
