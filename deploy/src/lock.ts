/** What is read of package-lock.json (version 3): by the folder of each package. */
export type Lock = Record<string, LockEntry>

export interface LockEntry {
  version?: string
  license?: string
  link?: boolean
  resolved?: string
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
}

/** What an app cannot run without: its dependencies and theirs, without those that are optional or the host's (peer). Pure. */
export function requiredBy(lock: Lock, folder: string): Set<string> {
  const found = new Set<string>()
  const todo = [folder]
  for (let at = todo.pop(); at !== undefined; at = todo.pop()) {
    if (found.has(at)) continue
    const entry = lock[at]
    if (entry === undefined) throw new Error(`package-lock.json has no ${at}.`)
    if (entry.link) {
      todo.push(String(entry.resolved))
      continue
    }
    found.add(at)
    for (const name of Object.keys(entry.dependencies ?? {})) todo.push(resolveFrom(lock, at, name))
  }
  return found
}

/** As Node looks for a package: in the folder's own node_modules, then in those of the folders above it. */
function resolveFrom(lock: Lock, folder: string, name: string): string {
  for (let at = folder; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/')))) {
    const path = `${at === '' ? '' : `${at}/`}node_modules/${name}`
    if (lock[path] !== undefined) return path
    if (at === '') throw new Error(`package-lock.json has no ${name} for ${folder}.`)
  }
}

export function nameOf(folder: string): string {
  return folder.slice(folder.lastIndexOf('node_modules/') + 'node_modules/'.length)
}
