import { describe, expect, it } from '@jest/globals'
import { revalidated } from './http-cache.ts'

function ask(header: string | undefined, essence: unknown = { count: 1 }) {
  const sent: Record<string, string> = {}
  let status = 200
  const reply = {
    header: (name: string, value: string) => void (sent[name] = value),
    code: (code: number) => ({ send: () => void (status = code) }),
  }
  const request = { headers: { 'if-none-match': header } }
  const body = revalidated(request, reply, { body: 'body', essence })
  return { status, body, etag: sent['etag'] ?? '', cacheControl: sent['cache-control'] }
}

describe('an answer that may be kept', () => {
  it('has a weak tag that changes with its essence only', () => {
    const { etag, cacheControl, status } = ask(undefined)
    expect([status, cacheControl]).toEqual([200, 'no-cache'])
    expect(etag).toMatch(/^W\/"[\w-]{27}"$/)
    expect(ask(undefined).etag).toBe(etag)
    expect(ask(undefined, { count: 2 }).etag).not.toBe(etag)
  })

  it('is not sent again to who has it, whatever else that has', () => {
    const { etag } = ask(undefined)
    for (const header of [etag, etag.slice(2), `"other", ${etag}`, '*']) {
      expect(ask(header)).toMatchObject({ status: 304, body: undefined, etag })
    }
    for (const header of ['"other"', '', etag.slice(3)])
      expect(ask(header)).toMatchObject({ status: 200, body: 'body' })
  })
})
