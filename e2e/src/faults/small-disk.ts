import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A file system of its own, in memory, that can be full. */
export interface SmallDisk {
  /** Makes it as small as what lies on it: no byte more. */
  fill(): void
  /** Makes room again. */
  empty(): void
  unmount(): void
}

const fillTriesMax = 50

/** Mounts one there. Throws, with mount's own words, where that is not allowed. */
export function mountSmallDisk(path: string, megabytes: number): SmallDisk {
  const mount = (...args: string[]) => {
    const mounted = spawnSync('mount', args, { encoding: 'utf8' })
    if (mounted.status !== 0) throw new Error(mounted.error?.message ?? mounted.stderr.split('\n')[0])
  }
  const resize = (bytes: number) => {
    mount('-o', `remount,size=${bytes}`, path)
  }
  mount('-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', path)
  return {
    fill() {
      for (let left = fillTriesMax; ; left -= 1) {
        const { blocks, bfree, bsize } = statfsSync(path)
        try {
          resize((blocks - bfree) * bsize)
          return
        } catch (error) {
          // It grew in between, and it cannot be made smaller than it is.
          if (left === 0) throw error
        }
      }
    },
    empty: () => {
      resize(megabytes * 1_048_576)
    },
    // Lazily: backends of a server that was killed a moment ago may still be in there.
    unmount: () => void spawnSync('umount', ['-l', path]),
  }
}

/** Why there can be no such disk here; null where there can. */
export function smallDiskFault(): string | null {
  const path = mkdtempSync(join(tmpdir(), 'likewise-disk-'))
  try {
    mountSmallDisk(path, 1).unmount()
    return null
  } catch (error) {
    return `a small file system cannot be mounted (${String(error)})`
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
}
