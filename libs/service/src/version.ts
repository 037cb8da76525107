import { readFileSync } from 'node:fs'

/** All workspaces share one version; src/ and dist/ both lie one level below the package.json that says it. */
export const version: string = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version
