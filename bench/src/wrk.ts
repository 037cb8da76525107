import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** What clients saw of a closed loop: each sends its next request when the one before is answered. */
export interface Load {
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
}

export const isThere = (tool: 'wrk' | 'pgbench'): Promise<boolean> =>
  run(tool, ['--version']).then(
    () => true,
    // wrk prints its version and ends with 1
    (error: unknown) => (error as { code?: unknown }).code === 1,
  )

/** Each request is a like of its own. Built by hand: wrk.format costs as much as sending. */
const script = `
local user, head
function init(args)
  user = tonumber(args[1])
  head = "POST " .. wrk.path .. " HTTP/1.1\\r\\nHost: " .. wrk.host ..
    "\\r\\nContent-Type: application/json\\r\\nContent-Length: "
end
function request()
  user = user + 1
  local body = string.format('{"userId":%.0f,"productId":%d}', user, user % 1000 + 1)
  return head .. #body .. "\\r\\n\\r\\n" .. body
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"requests":%d,"us":%d,"failed":%d,"p50":%d,"p99":%d}\\n', summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
`

/** Likes over HTTP by wrk, which needs a tenth of a core where a client in JavaScript needs one. */
export async function sendByWrk(options: {
  url: string
  home: string
  connections: number
  seconds: number
  /** Users from here on: no like is sent twice. */
  firstUser: number
}): Promise<Load> {
  const { url, home, connections, seconds, firstUser } = options
  const file = join(home, 'like.lua')
  await writeFile(file, script)
  const { stdout } = await run('wrk', [
    ...['--threads', '1', '--connections', String(connections), '--duration', `${String(seconds)}s`],
    ...['--timeout', '10s', '--script', file, url, '--', String(firstUser)],
  ])
  const said = /^\{.*\}$/m.exec(stdout)?.[0]
  if (said === undefined) throw new Error(`wrk said:\n${stdout}`)
  const { requests, us, failed, p50, p99 } = JSON.parse(said) as Record<
    'requests' | 'us' | 'failed' | 'p50' | 'p99',
    number
  >
  if (failed > 0) throw new Error(`${String(failed)} of ${String(requests)} likes failed.`)
  return { perSecond: requests / (us / 1e6), p50Ms: p50 / 1000, p99Ms: p99 / 1000 }
}
