import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A file system of its own, in memory, that can be filled. */
export interface SmallDisk {
  fill(): Promise<void>
  empty(): Promise<void>
  unmount(): void
}

/** Mounts one there. Throws, with mount's own words, where that is not allowed. */
export function mountSmallDisk(path: string, megabytes: number): SmallDisk {
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', path], {
    encoding: 'utf8',
  })
  if (mounted.status !== 0) throw new Error(mounted.error?.message ?? mounted.stderr.trim())
  const filler = join(path, 'filler')
  return {
    async fill() {
      const file = await open(filler, 'a')
      try {
        const bytes = Buffer.alloc(1_000_000)
        for (;;) await file.write(bytes)
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error
      } finally {
        await file.close()
      }
    },
    empty: () => rm(filler, { force: true }),
    unmount: () => void spawnSync('umount', [path]),
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
