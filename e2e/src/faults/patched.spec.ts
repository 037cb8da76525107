import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { patched } from './patched.ts'

let directory = ''
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'likewise-patched-'))
  writeFileSync(join(directory, 'sum.mjs'), 'export const sum = (a, b) => a + b\n')
  writeFileSync(join(directory, 'main.mjs'), "import { sum } from './sum.mjs'\nconsole.log(sum(1, 2))\n")
})
afterAll(() => rmSync(directory, { recursive: true }))

function run(from: string): { stdout: string; stderr: string; status: number | null } {
  const options = patched({ file: 'sum.mjs', from, to: 'a * 10 + b' })
  return spawnSync(process.execPath, [join(directory, 'main.mjs')], {
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: options },
  })
}

describe('a process with a planted bug', () => {
  it('runs the changed line', () => {
    expect(run('a + b')).toMatchObject({ stdout: '12\n', status: 0 })
  })

  it('does not start where there is no such line any more, or several', () => {
    for (const from of ['a - b', 'a']) {
      const { status, stderr } = run(from)
      expect(status).toBe(1)
      expect(stderr).toContain('Not once in')
    }
  })
})
