import { describe, expect, it } from '@jest/globals'
import { type Exception, auditFaults, readAudit } from './audit.ts'

const today = new Date('2026-11-28T12:00:00Z')
const via = (severity: string) => ({
  name: 'parser',
  title: 'Reads too much',
  url: 'https://github.com/advisories/GHSA-aaaa-bbbb-cccc',
  severity,
})
const found = (severity = 'high') =>
  readAudit(
    JSON.stringify({
      auditReportVersion: 2,
      vulnerabilities: { parser: { via: [via(severity)] }, server: { via: ['parser', via(severity)] } },
    }),
  )
const exception: Exception = {
  advisory: 'GHSA-aaaa-bbbb-cccc',
  package: 'parser',
  reason: 'It never reads what a client sent.',
  until: '2026-12-31',
}

describe('the audit', () => {
  it('fails on a vulnerability that nobody has looked at, and names it once', () => {
    expect(auditFaults(found(), [], today)).toEqual(['parser: Reads too much (high, GHSA-aaaa-bbbb-cccc).'])
  })

  it('lets one pass that is excepted, until the end of its last day', () => {
    expect(auditFaults(found(), [exception], today)).toEqual([])
    expect(auditFaults(found(), [{ ...exception, until: '2026-11-28' }], today)).toEqual([])
    expect(auditFaults(found(), [{ ...exception, until: '2026-11-27' }], today)).toEqual([
      'The exception for GHSA-aaaa-bbbb-cccc of parser ended on 2026-11-27: mend it, or look at it again.',
    ])
  })

  it('does not take an exception for another package', () => {
    expect(auditFaults(found(), [{ ...exception, package: 'other' }], today)).toEqual([
      'parser: Reads too much (high, GHSA-aaaa-bbbb-cccc).',
      'The exception for GHSA-aaaa-bbbb-cccc of other is not needed any more: remove it.',
    ])
  })

  it.each([
    [{ reason: ' ' }, /^An exception has no reason/],
    [{ until: 'soon' }, /has no last day/],
    [{ until: '2028-01-01' }, /lasts for more than 180 days/],
  ])('refuses an exception with %j', (change, sentence) => {
    expect(auditFaults(found(), [{ ...exception, ...change }], today)).toEqual([
      expect.stringMatching(sentence),
    ])
  })

  it('passes over what is low, and wants no exception for it to stay', () => {
    expect(auditFaults(found('low'), [], today)).toEqual([])
    expect(auditFaults(readAudit('{"vulnerabilities":{}}'), [exception], today)).toEqual([
      'The exception for GHSA-aaaa-bbbb-cccc of parser is not needed any more: remove it.',
    ])
  })

  it('says why where the registry does not answer, and still tells an exception that has ended', () => {
    const refused = readAudit(
      '{"message":"405 Method Not Allowed - POST https://registry.example/-/npm/v1/security/advisories/bulk","statusCode":405}',
    )
    expect(refused).toEqual({ unavailable: '405 Method Not Allowed' })
    expect(auditFaults(refused, [exception], today)).toEqual([])
    expect(auditFaults(refused, [{ ...exception, until: '2026-11-01' }], today)).toHaveLength(1)
  })
})
