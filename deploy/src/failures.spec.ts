import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from '@jest/globals'

const docs = new URL('../../docs/', import.meta.url)
const read = (path: string) => readFileSync(fileURLToPath(new URL(path, docs)), 'utf8')

const page = read('failures.md')
const rows = page
  .split('\n')
  .filter((line) => line.startsWith('| ') && !/^\| (---|fault|\| fault)/.test(line))

/** `[name](path)`, and the title of a test that follows it in backticks. */
const links = [...page.matchAll(/\]\(([^)]+)\)(?: `([^`]+)`)?/g)].map(([, to, title]) => ({
  path: String(to).replace(/#.*/, ''),
  title,
}))
const tests = links.filter(({ path }) => path.endsWith('.spec.ts'))

describe('docs/failures.md', () => {
  it('has F1 to F38', () => {
    const known = new Set(rows.map((row) => /^\| (F\d+) \|/.exec(row)?.[1]))
    for (let n = 1; n <= 38; n += 1) expect(known).toContain(`F${String(n)}`)
  })

  it('names for each fault a test, or says that there is none', () => {
    expect(rows.length).toBeGreaterThan(38)
    expect(rows.filter((row) => !/\.spec\.ts\) `|no test/.test(row))).toEqual([])
  })

  it.each(['failures.md', 'guarantees.md'])('has no link in %s to a file that is not there', (name) => {
    const paths = [...read(name).matchAll(/\]\((?!https:)([^)#]+)/g)].map(([, path]) => String(path))
    expect(paths.length).toBeGreaterThan(0)
    expect(paths.filter((path) => !existsSync(fileURLToPath(new URL(path, docs))))).toEqual([])
  })

  it('quotes of each test what stands in its file', () => {
    expect(tests.length).toBeGreaterThan(38)
    expect(tests.filter(({ path, title }) => title === undefined || !read(path).includes(title))).toEqual([])
  })
})
