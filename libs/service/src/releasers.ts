import type { Logger } from './logger.ts'

type Releaser = { name: string; release: () => unknown }

/** What has to be given back at the end, last taken first: a relay before its producer, a server before its pool. */
export function buildReleasers(log: Logger) {
  const waiting: Releaser[] = []
  return {
    defer(name: string, release: () => unknown): void {
      waiting.push({ name, release })
    },

    /** Each is awaited, a failing one does not keep the rest from being released. Also takes what is deferred meanwhile. */
    async releaseAll(): Promise<void> {
      for (let last = waiting.at(-1); last; last = waiting.at(-1)) {
        try {
          await last.release()
        } catch (err) {
          log.error({ err, releaser: last.name }, 'releaser failed')
        }
        waiting.splice(waiting.indexOf(last), 1)
      }
    },

    /** The names not released yet, the one under way first. */
    orphans: (): string[] => waiting.map(({ name }) => name).reverse(),
  }
}
