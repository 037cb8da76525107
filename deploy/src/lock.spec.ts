import { describe, expect, it } from '@jest/globals'
import { type Lock, nameOf, requiredBy } from './lock.ts'

const lock: Lock = {
  '': {},
  'apps/api': { dependencies: { '@us/service': '*', web: '1' } },
  'libs/service': { dependencies: { log: '2' } },
  'node_modules/@us/service': { link: true, resolved: 'libs/service' },
  'node_modules/web': { dependencies: { log: '1' }, optionalDependencies: { fast: '1' } },
  'node_modules/web/node_modules/log': {},
  'node_modules/log': {},
  'node_modules/fast': {},
  'node_modules/unrelated': {},
}

describe('what an image needs', () => {
  it('is what its app depends on, each in the version that is nearest, without what is optional', () => {
    expect([...requiredBy(lock, 'apps/api')].sort()).toEqual([
      'apps/api',
      'libs/service',
      'node_modules/log',
      'node_modules/web',
      'node_modules/web/node_modules/log',
    ])
  })

  it('fails where the lock has lost a package', () => {
    const broken = { ...lock, 'libs/service': { dependencies: { gone: '1' } } }
    expect(() => requiredBy(broken, 'apps/api')).toThrow('package-lock.json has no gone for libs/service.')
  })

  it('goes by the last folder of a path', () => {
    expect(nameOf('node_modules/web/node_modules/@x/log')).toBe('@x/log')
  })
})
