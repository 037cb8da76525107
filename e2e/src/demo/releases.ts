export type Defer = (release: () => Promise<unknown>) => void

/** Runs `work`; then, however it ended, what it deferred, last one first. The first error is the one that is told. */
export async function withReleases<T>(work: (defer: Defer) => Promise<T>): Promise<T> {
  const releases: (() => Promise<unknown>)[] = []
  const errors: unknown[] = []
  const caught = (error: unknown) => void errors.push(error)
  const result = await work((release) => releases.push(release)).catch(caught)
  for (const release of releases.reverse()) await release().catch(caught)
  if (errors.length > 0) throw errors[0]
  return result as T
}
