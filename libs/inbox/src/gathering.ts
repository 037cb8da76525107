/**
 * Lets what comes while a run is under way go into the next one together; nobody waits for a timer. A run that fails
 * fails for all that are in it.
 */
export function buildGathering<T, R>(
  run: (items: readonly [T, ...T[]]) => Promise<readonly R[]>,
): (item: T) => Promise<R> {
  let waiting: Waiting<T, R>[] = []
  let isUnderWay = false

  async function runAll(): Promise<void> {
    isUnderWay = true
    for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
      await new Promise(setImmediate) // what one fetch brings comes within one turn of the event loop
      const [first = next, ...others] = waiting
      waiting = []
      const all = [first, ...others]
      try {
        const results = await run([first.item, ...others.map(({ item }) => item)])
        all.forEach(({ resolve }, i) => {
          resolve(results[i] as R)
        })
      } catch (error) {
        for (const { reject } of all) reject(error)
      }
    }
    isUnderWay = false
  }

  return (item) =>
    new Promise((resolve, reject) => {
      waiting.push({ item, resolve, reject })
      if (!isUnderWay) void runAll()
    })
}

interface Waiting<T, R> {
  item: T
  resolve: (result: R) => void
  reject: (error: unknown) => void
}
