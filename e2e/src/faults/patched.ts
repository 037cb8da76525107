/** One piece of a compiled file, and what stands there instead. */
export interface Patch {
  /** For example `libs/outbox/dist/delivery.js`. */
  readonly file: string
  readonly from: string
  readonly to: string
}

/**
 * NODE_OPTIONS by which a process loads compiled files with a bug planted in them: product code needs no switch for it. The
 * process does not start where `from` is not in its file exactly once, since then nothing would be planted.
 */
export function patched(...patches: readonly Patch[]): string {
  const loader = `
    const patches = ${JSON.stringify(patches)}
    export async function load(url, context, next) {
      const loaded = await next(url, context)
      const own = patches.filter(({ file }) => url.endsWith('/' + file))
      if (own.length === 0) return loaded
      const source = own.reduce((text, { from, to }) => {
        if (text.split(from).length !== 2) throw new Error('Not once in ' + url + ': ' + from)
        return text.replace(from, () => to)
      }, String(loaded.source))
      return { ...loaded, source }
    }`
  const source = `import { register } from 'node:module'; register(${JSON.stringify(dataUrl(loader))})`
  return `--import=${dataUrl(source)}`
}

const dataUrl = (source: string): string => `data:text/javascript,${encodeURIComponent(source)}`
