import { randomBytes } from 'node:crypto'
import { type Database, connectDatabase, migrate, raw } from '@likewise/database'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { waitForMigrations } from './wait-for-migrations.ts'

const name = `likewise_wait_${randomBytes(6).toString('hex')}`
const server = process.env['CATALOG_DATABASE_URL']!
const metricsBefore = process.env['METRICS_DATABASE_URL']
const url = Object.assign(new URL(server), { pathname: `/${name}` }).href
const { host } = new URL(server)
let admin: Database
let said: string[]
let heard: () => void

/** Resolves when something is said. */
const nextWord = () => new Promise<void>((resolve) => (heard = resolve))
const say = (line: string) => {
  said.push(line)
  heard()
}

beforeEach(() => {
  ;[said, heard] = [[], () => undefined]
  admin = connectDatabase({
    url: server,
    poolSizeMax: 1,
    connectTimeoutMs: 5_000,
    statementTimeoutMs: 60_000,
    applicationName: 'test',
  })
  process.env['CATALOG_DATABASE_URL'] = url
  delete process.env['METRICS_DATABASE_URL']
})
afterEach(async () => {
  process.env['CATALOG_DATABASE_URL'] = server
  process.env['METRICS_DATABASE_URL'] = metricsBefore
  await admin.execute(raw(`drop database if exists ${name} with (force)`))
  await admin.execute(raw(`drop role if exists ${name}`))
  await admin.stop()
})

describe('likewise migrate --wait', () => {
  it('waits for a database that is not there, then for its migrations, and ends when all are applied', async () => {
    const word = nextWord()
    const waiting = waitForMigrations(say)
    await word
    expect(said).toEqual([
      expect.stringMatching(`^${host}/${name} cannot be asked yet: PostgreSQL is not available`),
    ])
    const nextOne = nextWord()
    await admin.execute(raw(`create database ${name}`))
    await nextOne
    expect(said[1]).toMatch(/^\S+ waits for its migration: it lacks \d+_init, .*_migrations_readable\b/)
    await migrate(url)
    await waiting
    expect(said).toHaveLength(3)
    expect(said[2]).toBe(`${host}/${name} is up to date`)
  })

  it('needs no right in the database', async () => {
    await admin.execute(raw(`create database ${name}`))
    await migrate(url)
    await admin.execute(raw(`create role ${name} login password 'of-nobody'`))
    process.env['CATALOG_DATABASE_URL'] = Object.assign(new URL(url), {
      username: name,
      password: 'of-nobody',
    }).href
    await waitForMigrations(say)
    expect(said).toEqual([`${host}/${name} is up to date`])
  })

  it('says what is missing where no database is named', async () => {
    delete process.env['CATALOG_DATABASE_URL']
    await expect(waitForMigrations(say)).rejects.toThrow(
      'Set CATALOG_DATABASE_URL or METRICS_DATABASE_URL, or both',
    )
  })
})
