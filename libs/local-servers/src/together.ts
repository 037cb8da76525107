/**
 * Starts all side by side. If one fails, those that did start are undone before its error is thrown: nothing stays
 * half-started.
 */
export async function together<A, B>(
  [startA, startB]: [() => Promise<A>, () => Promise<B>],
  undo: (started: A | B) => Promise<void>,
): Promise<[A, B]> {
  const [a, b] = await Promise.allSettled([startA(), startB()])
  if (a.status === 'fulfilled' && b.status === 'fulfilled') return [a.value, b.value]
  for (const start of [a, b]) {
    if (start.status === 'fulfilled') await undo(start.value)
  }
  throw a.status === 'rejected' ? a.reason : (b as PromiseRejectedResult).reason
}
