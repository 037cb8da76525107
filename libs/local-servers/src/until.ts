import { pause } from '@likewise/service'

const intervalMs = 25

/** Polls until `check` holds or the time is up, and says which. */
export async function until(check: () => boolean | Promise<boolean>, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    if (await check()) return true
    if (performance.now() >= deadline) return false
    await pause(intervalMs)
  }
}
