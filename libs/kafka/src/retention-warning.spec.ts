import { describe, expect, it } from '@jest/globals'
import { retentionWarning } from './retention-warning.ts'

const dayMs = 86_400_000
const warning = (retentionMs: number, horizonDays = 30, cleanupPolicy = 'delete') =>
  retentionWarning('catalog-events', { retentionMs, cleanupPolicy }, horizonDays)

describe('a topic that keeps records beyond the dedup horizon', () => {
  it('is nothing to warn of while it does not', () => {
    expect([warning(14 * dayMs), warning(30 * dayMs), warning(14 * dayMs, 14)]).toEqual([null, null, null])
  })

  it('is told with what, why and how to mend it', () => {
    expect(warning(60 * dayMs)).toBe(
      'Topic catalog-events keeps records for 60.0 days: events older than the dedup horizon of 30 days cannot be told ' +
        'from their duplicates, and are parked as too_old. To mend it set retention.ms to at most 2592000000.',
    )
    expect(warning(Infinity)).toContain('keeps records for ever')
    expect(warning(14 * dayMs, 7)).toContain('or raise CONSUMER_DEDUP_HORIZON_DAYS')
  })

  it.each(['compact', 'compact,delete'])('is told too where its policy is %s', (policy) => {
    expect(warning(14 * dayMs, 30, policy)).toMatch(
      new RegExp(`has cleanup.policy=${policy}: .*set cleanup.policy=delete\\.$`),
    )
  })
})
