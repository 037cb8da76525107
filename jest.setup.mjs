import { afterEach, beforeEach, expect, jest } from '@jest/globals'

// Here, since testTimeout of a package's config counts for nothing where several run together. A limit for what hangs,
// far above what the slowest machine needs.
jest.setTimeout(60_000)

// A test that writes to the console fails: what matters is asserted, the rest is noise.
const said = []
for (const method of ['log', 'info', 'warn', 'error', 'debug']) {
  console[method] = (...words) => said.push(`console.${method}: ${words.join(' ')}`)
}
beforeEach(() => void said.splice(0))
afterEach(() => expect(said).toEqual([]))
