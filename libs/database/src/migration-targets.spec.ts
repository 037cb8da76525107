import { describe, expect, it } from '@jest/globals'
import { migrationTargets } from './migration-targets.ts'

const [one, two, direct] = ['postgres://one/a', 'postgres://two/b', 'postgres://direct/a']

describe('what is migrated', () => {
  it('is both databases where they are two, and one where they are the same', () => {
    expect(migrationTargets({ CATALOG_DATABASE_URL: one, METRICS_DATABASE_URL: two })).toEqual([
      { variable: 'CATALOG_DATABASE_URL', url: one },
      { variable: 'METRICS_DATABASE_URL', url: two },
    ])
    const single = [{ variable: 'CATALOG_DATABASE_URL', url: one }]
    expect(migrationTargets({ CATALOG_DATABASE_URL: one, METRICS_DATABASE_URL: one })).toEqual(single)
    expect(migrationTargets({ CATALOG_DATABASE_URL: one })).toEqual(single)
  })

  it('is reached without a pooler where that is named', () => {
    const pooled = { CATALOG_DATABASE_URL: one, METRICS_DATABASE_URL: one }
    const target = [{ variable: 'CATALOG_DATABASE_DIRECT_URL', url: direct }]
    expect(migrationTargets({ ...pooled, CATALOG_DATABASE_DIRECT_URL: direct })).toEqual(target)
    const both = { CATALOG_DATABASE_DIRECT_URL: direct, METRICS_DATABASE_DIRECT_URL: direct }
    expect(migrationTargets({ ...pooled, ...both })).toEqual(target)
    const second = {
      CATALOG_DATABASE_URL: one,
      METRICS_DATABASE_URL: two,
      METRICS_DATABASE_DIRECT_URL: direct,
    }
    expect(migrationTargets(second)).toEqual([
      { variable: 'CATALOG_DATABASE_URL', url: one },
      { variable: 'METRICS_DATABASE_DIRECT_URL', url: direct },
    ])
  })
})
