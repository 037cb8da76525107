// A test that writes to the console fails: what matters is asserted, the rest is noise.
import { afterEach, beforeEach, expect } from '@jest/globals'

const said = []
for (const method of ['log', 'info', 'warn', 'error', 'debug']) {
  console[method] = (...words) => said.push(`console.${method}: ${words.join(' ')}`)
}
beforeEach(() => void said.splice(0))
afterEach(() => expect(said).toEqual([]))
