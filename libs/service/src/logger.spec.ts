import { describe, expect, it } from '@jest/globals'
import { buildLogger, maskPasswords } from './logger.ts'

const canary = 'c4n4ry'
const url = `postgres://likewise:${canary}@db.example:5432/likewise`

function capture(level = 'info') {
  const lines: string[] = []
  const log = buildLogger({ service: 'like-api', level }, { write: (line) => void lines.push(line) })
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? '{}') as Record<string, unknown> }
}

describe('buildLogger', () => {
  it('writes one JSON line with the time, the level by name and the service', () => {
    const { log, last } = capture()
    log.info({ batch: 12 }, 'settled')
    expect(last()).toMatchObject({ level: 'info', service: 'like-api', batch: 12, msg: 'settled' })
    expect(last().time).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
  })

  it('writes nothing below its level', () => {
    const { log, lines } = capture('warn')
    log.info('quiet')
    expect(lines).toEqual([])
  })

  it.each([
    { authorization: canary },
    { password: canary },
    { DATABASE_URL: canary },
    {
      config: {
        METRICS_DATABASE_URL: canary,
        CATALOG_DATABASE_URL: canary,
        DATABASE_URL: canary,
        CATALOG_DATABASE_DIRECT_URL: canary,
      },
    },
    { headers: { authorization: canary, cookie: canary, 'set-cookie': canary } },
    { req: { headers: { authorization: canary, cookie: canary } } },
    { config: { ANY_OTHER_URL: url } },
    { deep: { deeper: { deepest: { url } } } },
    { url: `postgres://db.example/likewise?user=me&password=${canary}&ssl=true` },
  ])('never writes a secret that stands in %j', (fields) => {
    const { log, lines } = capture()
    log.info(fields, 'config read')
    log.child(fields).info('child')
    expect(lines).toHaveLength(2)
    expect(lines.join('')).not.toContain(canary)
    expect(lines.join('')).toContain('***')
  })

  it('never writes the password of a connection string in an error, its stack or its cause', () => {
    const { log, lines, last } = capture()
    const cause = new Error(`connect ${url} failed`)
    log.error({ err: new Error(`cannot use ${url}`, { cause }) }, `giving up on ${url}`)
    expect(lines.join('')).not.toContain(canary)
    expect(last().err).toMatchObject({
      type: 'Error',
      message: expect.stringContaining('postgres://likewise:***@db.example'),
    })
    expect(last().msg).toBe('giving up on postgres://likewise:***@db.example:5432/likewise')
  })
})

describe('maskPasswords', () => {
  it.each([
    ['postgres://user:secret@host/db', 'postgres://user:***@host/db'],
    ['postgres://user:p@ss/w:rd@host/db', 'postgres://user:***@host/db'],
    ['redis://:secret@host', 'redis://:***@host'],
    ['two postgres://a:b@c and amqp://d:e@f', 'two postgres://a:***@c and amqp://d:***@f'],
    ['http://host:8080/path and me@example.org', 'http://host:8080/path and me@example.org'],
    ['postgres://user@host:5432/db', 'postgres://user@host:5432/db'],
  ])('turns %s into %s', (text, masked) => {
    expect(maskPasswords(text)).toBe(masked)
  })
})
