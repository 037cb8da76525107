import { pause } from '@likewise/service'
import type { Arguments } from './arguments.ts'
import type { Bed } from './bed.ts'
import { readUsage } from './process-usage.ts'
import { type Part, partOf } from './report.ts'

const settleMs = 5_000
const idleMs = 20_000

/** What a relay costs that has nothing to do. */
export async function benchIdle(bed: Bed, { repeats }: Arguments): Promise<Part[]> {
  bed.tell(
    `relay.idle: CPU time of one relay process, of one core, over ${String(idleMs / 1000)} s without events, ` +
      `${String(settleMs / 1000)} s after its start.`,
  )
  const shares: number[] = []
  await bed.withService('outbox-relay', {}, async ({ process: { pid } }) => {
    await pause(settleMs, bed.stopping)
    for (let i = 1; i <= repeats; i += 1) {
      const [before, beganMs] = [await readUsage(pid), performance.now()]
      await pause(idleMs, bed.stopping)
      bed.stopping.throwIfAborted()
      const [after, endedMs] = [await readUsage(pid), performance.now()]
      if (before === null || after === null) {
        bed.tell('  left out: it cannot be read here')
        return
      }
      const share = ((after.cpuSeconds - before.cpuSeconds) / ((endedMs - beganMs) / 1000)) * 100
      shares.push(share)
      bed.tell(`  idle ${String(i)}/${String(repeats)}  ${share.toFixed(2)} %`)
    }
  })
  return shares.length === 0 ? [] : [partOf('relay.idle', '%', shares)]
}
