import { existsSync } from 'node:fs'

/** NODE_OPTIONS that move the wall clock of a process by so much, before anything in it has looked. */
export function clockMovedBy(ms: number): string {
  const source = `const Real = Date
    globalThis.Date = class Date extends Real {
      constructor(...args) { if (args.length) super(...args); else super(Real.now() + ${String(ms)}) }
      static now() { return Real.now() + ${String(ms)} }
    }`
  return `--import=data:text/javascript,${encodeURIComponent(source)}`
}

const libraries = [
  ...['x86_64', 'aarch64'].map((machine) => `/usr/lib/${machine}-linux-gnu/faketime/libfaketime.so.1`),
  '/usr/lib/faketime/libfaketime.so.1',
  '/usr/local/lib/faketime/libfaketime.so.1',
]

/** Where the clock of a process can be set while it runs (Debian: faketime); undefined where it cannot. */
export const faketimeLibrary = (): string | undefined => libraries.find((path) => existsSync(path))

/** The environment of a process whose wall clock is off by what stands in the file, in seconds, also while it runs. */
export function clockBy(library: string, file: string): Record<string, string> {
  return {
    LD_PRELOAD: library,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_CACHE_DURATION: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1', // nor does a clock that is set move it
  }
}
