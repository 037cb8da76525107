import { readFile } from 'node:fs/promises'

/** USER_HZ: 100 on every Linux that Node runs on. */
const ticksPerSecond = 100

export interface Usage {
  /** User and system time since the process began. */
  cpuSeconds: number
  /** The most memory it ever had resident. */
  peakMb: number
}

/** What a process has used so far; null where there is no /proc (macOS). */
export async function readUsage(pid: number): Promise<Usage | null> {
  if (process.platform !== 'linux') return null
  const [stat, status] = await Promise.all(
    ['stat', 'status'].map((file) => readFile(`/proc/${String(pid)}/${file}`, 'utf8')),
  )
  // The command in parentheses may hold spaces; utime and stime are the 12th and 13th field behind it.
  const fields = (stat ?? '').slice((stat ?? '').lastIndexOf(')') + 2).split(' ')
  const ticks = Number(fields[11]) + Number(fields[12])
  const peakKb = Number(/^VmHWM:\s+(\d+) kB/m.exec(status ?? '')?.[1])
  return { cpuSeconds: ticks / ticksPerSecond, peakMb: peakKb / 1024 }
}
