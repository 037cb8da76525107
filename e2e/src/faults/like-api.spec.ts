import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { platform, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Database, sql } from '@likewise/database'
import { type RunningService, freePort, removeHome, startService } from '@likewise/local-servers'
import { pause } from '@likewise/service'
import { afterAll, beforeAll, expect, it } from '@jest/globals'
import { eventually } from '../system.ts'
import { openDatabase, readMetric, readPeakBytes } from './bed.ts'
import { ownPostgres } from './own-servers.ts'

const stillMs = 10_000
const connections = { single: 64, batch: 16 }
const batchSize = 100
/** Below what the batches alone would fill it with. */
const waitingMax = 1_000
/** 157 MB have been seen, on two busy cores. */
const peakBytesMax = 200_000_000

let postgres: Awaited<ReturnType<typeof ownPostgres>>
let db: Database
let home: string
let api: RunningService
let stop: () => Promise<void>

beforeAll(async () => {
  postgres = await ownPostgres()
  const opened = await openDatabase(postgres.server.url)
  db = opened.db
  home = await mkdtemp(join(tmpdir(), 'likewise-faults-'))
  const { NODE_OPTIONS: _n, ...inherited } = process.env
  api = await startService({
    home,
    plan: { app: 'like-api', name: 'like-api', port: await freePort() },
    env: {
      ...inherited,
      ...{ CATALOG_DATABASE_URL: postgres.server.url, LIKE_API_WAITING_MAX: String(waitingMax) },
      LOG_LEVEL: 'info',
    },
  })
  stop = opened.drop
}, 120_000)
afterAll(async () => {
  await api.process.stop('SIGKILL', 0)
  await stop()
  await postgres.remove()
  await removeHome(home)
}, 60_000)

/** The server and all its backends, which are its children: they keep what they are sent, and say nothing. */
function signalPostgres(signal: 'SIGSTOP' | 'SIGCONT'): void {
  const { pid } = postgres.server.process ?? {}
  if (pid === undefined) throw new Error('PostgreSQL does not run.')
  const children = execFileSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' })
  for (const one of [pid, ...children.trim().split('\n').map(Number)]) process.kill(one, signal)
}

interface Answer {
  status: number
  body: string
  tookMs: number
}

/** node:http, since fetch needs more of a core for it than like-api. */
function post(agent: Agent, path: string, body: object): Promise<Answer> {
  const begunMs = performance.now()
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' }
    const asked = request(`${api.url}${path}`, { agent, method: 'POST', headers }, (answer) => {
      let text = ''
      answer.setEncoding('utf8').on('data', (part: string) => (text += part))
      answer.on('end', () => {
        resolve({ status: answer.statusCode ?? 0, body: text, tookMs: performance.now() - begunMs })
      })
    })
    asked.on('error', reject).end(JSON.stringify(body))
  })
}

/** Clients that give nobody a rest: each like is sent again until it is accepted. */
function startClients() {
  const agent = new Agent({ keepAlive: true, maxSockets: Infinity })
  const over = new AbortController()
  const seen = { answers: 0, slowestMs: 0, accepted: 0, statuses: new Map<number, number>() }
  let users = 0
  const note = ({ status, tookMs }: Answer) => {
    seen.answers += 1
    seen.slowestMs = Math.max(seen.slowestMs, tookMs)
    seen.statuses.set(status, (seen.statuses.get(status) ?? 0) + 1)
  }
  const single = async () => {
    while (!over.signal.aborted) {
      const userId = (users += 1)
      for (let status = 503; status === 503;) {
        const answer = await post(agent, '/api/likes', { userId, productId: (userId % 50) + 1 })
        note(answer)
        ;({ status } = answer)
      }
      seen.accepted += 1
    }
  }
  const batch = async () => {
    while (!over.signal.aborted) {
      const first = users + 1
      users += batchSize
      let items = Array.from({ length: batchSize }, (_, i) => ({ userId: first + i, productId: ((first + i) % 50) + 1 })) // prettier-ignore
      while (items.length > 0) {
        const answer = await post(agent, '/api/likes/batch', { items })
        note(answer)
        if (answer.status === 503) continue
        const found = (JSON.parse(answer.body) as { items: { status: number }[] }).items
        const left = items.filter((_, i) => found[i]?.status === 503)
        seen.accepted += items.length - left.length
        items = left
      }
    }
  }
  const running = Promise.all([
    ...Array.from({ length: connections.single }, single),
    ...Array.from({ length: connections.batch }, batch),
  ])
  return {
    seen,
    async stop() {
      over.abort()
      await running
      agent.destroy()
      return users
    },
  }
}

it('PostgreSQL stands still for 10 s under 80 connections: all are answered in time, 503 and no hang, the queue and the memory stay bounded, and then each like is accepted, once (I1, I3, I7, I8)', async () => {
  const clients = startClients()
  const { seen } = clients
  await eventually(async () => seen.accepted > 2_000)

  signalPostgres('SIGSTOP')
  let waitingPeak = 0
  const acceptedBefore = seen.accepted
  for (const endMs = performance.now() + stillMs; performance.now() < endMs; await pause(100)) {
    waitingPeak = Math.max(waitingPeak, await readMetric(api, 'likewise_writes_waiting'))
  }
  const refused = await readMetric(api, 'likewise_writes_refused_total{reason="full"}')
  const during = { accepted: seen.accepted - acceptedBefore, slowestMs: seen.slowestMs }
  signalPostgres('SIGCONT')

  const acceptedThen = seen.accepted
  await eventually(async () => seen.accepted > acceptedThen + 2_000)
  const users = await clients.stop()

  // What was in flight when it stopped may have been answered a moment later.
  expect(during.accepted).toBeLessThan(2_000)
  expect(during.slowestMs).toBeLessThan(3_000)
  expect([...seen.statuses.keys()].sort()).toEqual([200, 201, 503])
  expect(refused).toBeGreaterThan(0)
  expect(waitingPeak).toBeLessThanOrEqual(waitingMax)
  expect(waitingPeak).toBeGreaterThan(waitingMax / 2)
  expect(api.process.hasExited()).toBe(false)
  // Only Linux tells.
  if (platform() === 'linux') expect(await readPeakBytes(api)).toBeLessThan(peakBytesMax)

  expect(seen.accepted).toBe(users)
  expect(await readLikes()).toEqual({ likes: users, events: users, pairs: users })
  // Thousands of requests failed; the log is no part of the load.
  const unavailable = seen.statuses.get(503) ?? 0
  const lines = (await readFile(api.logFile, 'utf8')).split('\n').filter((line) => line.includes('"warn"'))
  expect(unavailable).toBeGreaterThan(1_000)
  expect(lines.length).toBeLessThan(30)
  expect(await readMetric(api, 'likewise_http_request_duration_seconds_count')).toBeGreaterThanOrEqual(seen.answers) // prettier-ignore
}, 120_000)

async function readLikes() {
  const [row] = await db.query<{ likes: number; events: number; pairs: number }>(sql`
    select (select count(*)::int from catalog.likes) as likes, count(*)::int as events,
           count(distinct (payload ->> 'userId', payload ->> 'productId'))::int as pairs
    from catalog.outbox_events`)
  return row
}
