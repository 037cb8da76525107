import { readFileSync } from 'node:fs'
import { expect, it } from '@jest/globals'
import { problemTypes } from './http-problem.ts'

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8')

it('every type of problem that an answer may have is explained in docs/problems.md, and no other', () => {
  const explained = [...read('docs/problems.md').matchAll(/^## (\S+)$/gm)].map(
    ([, name]) => `urn:likewise:problem:${name}`,
  )
  const ofNginx = [...read('deploy/docker/nginx.conf').matchAll(/"(urn:likewise:problem:[^"]+)"/g)].map(
    ([, type]) => type,
  )
  expect(ofNginx).toHaveLength(5)
  expect(explained.sort()).toEqual([...new Set([...problemTypes(), ...ofNginx])].sort())
})
