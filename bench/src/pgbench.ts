import { execFile } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { LikeAdded, aggregateType, topics } from '@likewise/events'
import { percentile } from './report.ts'
import type { Load } from './wrk.ts'

/** One like as the pattern is usually written, with users that rise as they do in the load over HTTP. */
const script = `
\\set n :n + 1
\\set user_id :client_id * 100000000 + :n
\\set product_id :n % 1000 + 1
\\set shard :product_id % 12
BEGIN;
INSERT INTO catalog.likes (user_id, product_id) VALUES (:user_id, :product_id);
INSERT INTO catalog.outbox_events (shard, aggregate_type, aggregate_id, event_type, topic, partition_key, payload)
VALUES (:shard, '${aggregateType}', :product_id::bigint::text, '${LikeAdded.properties.type.const}', '${topics.catalogEvents}',
  :product_id::bigint::text,
  json_build_object('userId', :user_id::bigint, 'productId', :product_id::bigint, 'createdAt', now()));
COMMIT;
`

/** One transaction per like in the same tables by pgbench, prepared: four statements, as many clients. */
export async function writeByPgbench(options: {
  databaseUrl: string
  home: string
  clients: number
  seconds: number
}): Promise<Load> {
  const { databaseUrl, home, clients, seconds } = options
  const dir = await mkdtemp(join(home, 'pgbench-'))
  try {
    const file = join(dir, 'like.sql')
    await writeFile(file, script)
    const { stdout } = await promisify(execFile)(
      'pgbench',
      [
        ...['--no-vacuum', '--protocol=prepared', `--client=${String(clients)}`, '--jobs=2'],
        ...[`--time=${String(seconds)}`, '--define=n=0', `--file=${file}`, '--log', `--log-prefix=${dir}/tx`],
        databaseUrl,
      ],
      { cwd: dir },
    )
    const perSecond = Number(/^tps = ([\d.]+)/m.exec(stdout)?.[1])
    if (!(perSecond > 0)) throw new Error(`pgbench said:\n${stdout}`)
    const latencies = await readLatencies(dir)
    return { perSecond, p50Ms: percentile(latencies, 0.5), p99Ms: percentile(latencies, 0.99) }
  } finally {
    await rm(dir, { recursive: true })
  }
}

/** The third word of each line: microseconds. */
async function readLatencies(dir: string): Promise<number[]> {
  const logs = (await readdir(dir)).filter((name) => name.startsWith('tx.'))
  const texts = await Promise.all(logs.map((name) => readFile(join(dir, name), 'utf8')))
  return texts.flatMap((text) =>
    text
      .trimEnd()
      .split('\n')
      .map((line) => Number(line.split(' ')[2]) / 1000),
  )
}
