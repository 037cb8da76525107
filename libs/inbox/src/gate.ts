export interface Gate {
  /** Beside others. */
  together<T>(work: () => Promise<T>): Promise<T>
  /** While nothing else is under way; what comes later waits. */
  alone<T>(work: () => Promise<T>): Promise<T>
}

/** Lets much run side by side, or one thing alone. */
export function buildGate(): Gate {
  const running = new Set<Promise<unknown>>()
  let lastAlone: Promise<unknown> = Promise.resolve()
  return {
    async together(work) {
      for (let awaited; awaited !== lastAlone;) await (awaited = lastAlone)
      const under = work()
      const ended = under.catch(() => undefined)
      running.add(ended)
      try {
        return await under
      } finally {
        running.delete(ended)
      }
    },
    alone(work) {
      const before = lastAlone
      const turn = (async () => {
        await before
        await Promise.all(running)
        return work()
      })()
      lastAlone = turn.catch(() => undefined)
      return turn
    },
  }
}
