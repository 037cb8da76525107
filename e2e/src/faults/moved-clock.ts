/** NODE_OPTIONS that move the wall clock of a process by so much, before anything in it has looked. */
export function clockMovedBy(ms: number): string {
  const source = `const Real = Date
    globalThis.Date = class Date extends Real {
      constructor(...args) { if (args.length) super(...args); else super(Real.now() + ${String(ms)}) }
      static now() { return Real.now() + ${String(ms)} }
    }`
  return `--import=data:text/javascript,${encodeURIComponent(source)}`
}
