import type { Failure } from './failure.ts'

/** What `work` gives, or after `limitMs` the failure; the work goes on, and what becomes of it then is nobody's. */
export async function within<T>(limitMs: number, work: Promise<T>, late: () => Failure): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(late())
    }, limitMs)
  })
  try {
    return await Promise.race([work, limit])
  } finally {
    clearTimeout(timer)
  }
}
