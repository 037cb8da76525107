import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { sql } from '@likewise/database'
import { connectionsOf, workspaceRoot } from '@likewise/local-servers'
import { afterAll, beforeAll, expect, it } from '@jest/globals'
import { isSettled, lostLikes, readCounts, settled } from './invariants.ts'
import { type Answer, sendLike, sendUnlike, spread } from './likes.ts'
import { type System, eventually, startSystem } from './system.ts'

let system: System
beforeAll(async () => {
  system = await startSystem()
}, 180_000)
afterAll(() => system.stop(), 60_000)

interface Running {
  process: ChildProcess
  ended: Promise<{ code: number | null; said: string }>
}

/** `likewise …`, as a process of its own. */
function likewise(...words: string[]): Running {
  const { NODE_OPTIONS: _n, ...env } = process.env
  const child = spawn(process.execPath, [join(workspaceRoot, 'apps/cli/bin/likewise.js'), ...words], {
    env: { ...env, ...connectionsOf(system.stack.servers) },
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (part) => (said += String(part)))
  const ended = new Promise<{ code: number | null; said: string }>((resolve) => {
    child.on('close', (code) => {
      resolve({ code, said })
    })
  })
  return { process: child, ended }
}

const counted = async (): Promise<number> => {
  const [row] = await system.metrics.query<{ n: number }>(
    sql`select counted::float8 as n from metrics.rebuilds`,
  )
  return row?.n ?? 0
}

it('a rebuild that is killed under load goes on and is switched under load: no like is lost or counted twice (I1, I2, I3)', async () => {
  const answers: Answer[] = []
  const api = (i: number): string => system.apis[i % system.apis.length] ?? ''
  let ended = false
  const load = (async () => {
    for (let round = 0; !ended; round += 1) {
      await spread(200, 8, async (i) => {
        const user = round * 1_000 + i + 1
        answers.push(await sendLike(api(i), user, 1 + (i % 25)))
        if (i % 4 === 0) await sendUnlike(api(i + 1), user, 1_001 + (i % 5))
        if (i % 5 === 0) await sendLike(api(i), user, 1_001 + (i % 5))
      })
    }
  })()
  try {
    await eventually(async () => answers.length > 1_500)
    // what no consumer would do
    await system.metrics.execute(
      sql`update metrics.product_metrics set like_count = like_count + 100 where product_id <= 5`,
    )
    await system.metrics.execute(sql`delete from metrics.product_like_windows where product_id = 7`)
    const killed = likewise('rebuild', '--switch')
    await eventually(async () => (await counted()) > 0)
    killed.process.kill('SIGKILL')
    await killed.ended
    const { code, said } = await likewise('rebuild', '--switch').ended
    expect(said).toContain('Switched')
    expect(code).toBe(0)
  } finally {
    ended = true
    await load
  }
  await eventually(() => isSettled(system), 60_000)
  expect(await lostLikes(system, answers)).toEqual([])
  expect(await readCounts(system)).toEqual(settled)
  const again = await likewise('rebuild').ended
  expect(again.said).toContain('Both models say the same.')
  expect(again.said).toMatch(/100 % {2}[\d,]+ of [\d,]+ records/)
  const replayed = await likewise('replay', '--from', '2020-01-01T00:00:00Z').ended
  expect(replayed.said).toContain('Nothing was missing.')
  expect(await readCounts(system)).toEqual(settled)
}, 240_000)
