import { describe, expect, it } from '@jest/globals'
import { type LicenceRules, isAllowed, licenceFaults, licencePage, packagesOf } from './licences.ts'
import type { Lock } from './lock.ts'

const rules: LicenceRules = {
  allowed: ['MIT', 'ISC'],
  exceptions: [
    { package: 'old', licence: 'MIT', reason: 'Says so in the old form.' },
    { package: 'layout', licence: 'EPL-2.0', reason: 'Not used.' },
  ],
}
const lock: Lock = {
  '': {},
  'apps/api': { dependencies: { web: '1', old: '1' } },
  'node_modules/@us/api': { link: true, resolved: 'apps/api' },
  'node_modules/web': { version: '1.2.0', license: 'MIT' },
  'node_modules/old': { version: '0.1.0' },
  'node_modules/layout': { version: '3.0.0', license: 'EPL-2.0' },
}
const faultsOf = (packages: Lock) => {
  const { images, tools } = packagesOf(packages, rules, ['apps/api'])
  return licenceFaults([...images, ...tools], rules)
}

describe('licences', () => {
  it.each([
    ['MIT', true],
    ['GPL-3.0', false],
    ['', false],
    ['MIT OR GPL-3.0', true],
    ['(GPL-3.0 OR ISC)', true],
    ['MIT AND ISC', true],
    ['MIT and ISC', true],
    ['MIT AND GPL-3.0', false],
    ['MIT OR GPL-3.0 AND GPL-2.0', true],
    ['(MIT OR GPL-3.0) AND GPL-2.0', false],
    ['SEE LICENSE IN LICENSE', false],
    ['MIT GPL-3.0', false],
    ['(MIT', false],
  ])('%s: %s', (expression, expected) => {
    expect(isAllowed(expression, rules.allowed)).toBe(expected)
  })

  it('of all packages are on the list, or excepted with a reason', () => {
    expect(faultsOf(lock)).toEqual([])
  })

  it('that nobody allowed are told by package', () => {
    expect(faultsOf({ ...lock, 'node_modules/web': { version: '2.0.0', license: 'BUSL-1.1' } })).toEqual([
      'web@2.0.0 has the licence BUSL-1.1, which is not on the list.',
    ])
    expect(faultsOf({ ...lock, 'node_modules/new': { version: '1.0.0' } })).toEqual([
      'new@1.0.0 has no licence that its lock entry tells.',
    ])
  })

  it('of an excepted package may not become another one', () => {
    expect(faultsOf({ ...lock, 'node_modules/layout': { version: '4.0.0', license: 'AGPL-3.0' } })).toEqual([
      'layout@4.0.0 has the licence AGPL-3.0, which is not on the list.',
    ])
  })

  it('keep no exception that nothing needs', () => {
    const { 'node_modules/layout': _gone, ...rest } = lock
    expect(faultsOf(rest)).toEqual(['The exception for layout is not needed any more: remove it.'])
  })

  it('are listed by what is in the images and what is not', () => {
    const packages = packagesOf(lock, rules, ['apps/api'])
    expect(packages.images.map(({ name }) => name)).toEqual(['old', 'web'])
    expect(licencePage(packages, rules)).toContain('| MIT | old 0.1.0, web 1.2.0 |')
    expect(licencePage(packages, rules)).toContain('| EPL-2.0 | 1 |')
  })
})
