import { spawn } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { sql } from '@likewise/database'
import { openTx, pgClient } from '@likewise/database/testing'
import { topics } from '@likewise/events'
import { buildPublisher } from '@likewise/kafka'
import { pause } from '@likewise/service'
import { kill, leave } from '../faults/bed.ts'
import { clockMovedBy } from '../faults/moved-clock.ts'
import { smallDiskFault } from '../faults/small-disk.ts'
import { terminate } from '../faults/table-lock.ts'
import { readRecords } from '../order.ts'
import type { Fault, FaultKind } from './plan.ts'
import type { Actor, Stage } from './stage.ts'

/** Does it. @returns what heals it, to be called when its time is over. */
export type Inject = (stage: Stage, fault: Fault) => Promise<() => Promise<void>>

/** Nothing to heal: the platform starts again what has ended, and clients connect anew. */
const byItself = async (): Promise<void> => undefined

export const injections: Record<FaultKind, Inject> = {
  kill: onActor(async ({ running }) => {
    if (!running().process.hasExited()) await kill(running())
    return byItself
  }),
  stop: onActor(async ({ running }) => {
    if (!running().process.hasExited()) await leave(running())
    return byItself
  }),
  sleep: onActor(async ({ running }) => {
    const { process: sleeper } = running()
    if (sleeper.hasExited()) return byItself
    process.kill(sleeper.pid, 'SIGSTOP')
    return async () => {
      if (!sleeper.hasExited()) process.kill(sleeper.pid, 'SIGCONT')
    }
  }),
  terminate: async ({ db }, { app }) => {
    await terminate(db, app)
    return byItself
  },
  'postgres-crash': async ({ postgres }) => {
    await postgres?.process?.stop('SIGQUIT', 10_000) // what pg_ctl stop -m immediate sends
    return async () => postgres?.start()
  },
  'kafka-crash': async ({ broker }) => {
    await broker.kill()
    return () => broker.start()
  },
  'kafka-hang': async ({ broker }) => {
    const { pid } = broker
    if (pid === undefined) return byItself
    process.kill(pid, 'SIGSTOP')
    return async () => {
      if (broker.pid === pid) process.kill(pid, 'SIGCONT')
    }
  },
  link: onActor(async ({ links }, { server, toxic }) => {
    links[server].poison(toxic)
    return async () => {
      links[server].poison(null)
    }
  }),
  'held-transaction': async ({ db }) => {
    const open = await openTx(db)
    await open.tx.query(sql`select pg_current_xact_id()::text as xid`)
    // The server may have ended it meanwhile.
    return () => open.commit().catch(() => undefined)
  },
  repeats: repeatRecords,
  rebalances: comeAndGo,
  connections: takeConnections,
  cpu: burn,
  'disk-full': async ({ broker, disk }) => {
    await disk?.fill()
    return async () => {
      await disk?.empty()
      await broker.start() // it ends when it cannot write
    }
  },
  clock: onActor(async (actor, { forMs }) => {
    // A day back or ahead, by what the seed has drawn.
    actor.setEnv({ NODE_OPTIONS: clockMovedBy((forMs % 2 === 0 ? 1 : -1) * 86_400_000) })
    if (!actor.running().process.hasExited()) await leave(actor.running())
    return async () => {
      actor.setEnv({})
      if (!actor.running().process.hasExited()) await leave(actor.running())
    }
  }),
}

/** Why a kind of fault cannot be injected here; null where it can. */
export function skipReason(kind: FaultKind): string | null {
  if (kind === 'disk-full') return smallDiskFault()
  if (process.platform !== 'linux' && kind === 'cpu') return 'it is only known how to do this on Linux'
  return null
}

function onActor(inject: (actor: Actor, fault: Fault) => Promise<() => Promise<void>>): Inject {
  return async (stage, fault) => {
    const actor = stage.actor(fault.app, fault.instance)
    return actor === undefined ? byItself : inject(actor, fault)
  }
}

const repeatedMax = 300

/** The newest records of the topic come once more, in their order, as from a relay that slept with them in its hands. */
export async function repeatRecords({
  kafka,
  kafkaBrokers,
}: Pick<Stage, 'kafka' | 'kafkaBrokers'>): Promise<() => Promise<void>> {
  const records = await readRecords(kafkaBrokers, topics.catalogEvents)
  const publisher = buildPublisher({ ...kafka, sendLimitMs: 10_000 })
  const copies = records.slice(-repeatedMax).map(({ key, value, headers }) => ({
    topic: topics.catalogEvents,
    key,
    value,
    headers: textsOf(headers),
  }))
  if (copies.length > 0) await publisher.publish(copies)
  await publisher.stop()
  return byItself
}

const textsOf = (headers: Readonly<Record<string, unknown>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))

const comeEveryMs = 2_000

/** One more consumer joins and leaves, again and again: each time all of them rebalance. */
async function comeAndGo(stage: Stage, { forMs }: Fault): Promise<() => Promise<void>> {
  const over = new AbortController()
  const run = async (): Promise<void> => {
    for (let endMs = performance.now() + forMs; performance.now() < endMs && !over.signal.aborted;) {
      const guest = await stage.add('metrics-consumer')
      await pause(comeEveryMs, over.signal)
      await stage.remove(guest)
    }
  }
  const running = run().catch(() => undefined) // it may come while its servers are away
  return async () => {
    over.abort()
    await running
  }
}

/** Opens connections until PostgreSQL has none left, those of the services excepted. */
async function takeConnections({ databaseUrl }: Stage): Promise<() => Promise<void>> {
  const others: Client[] = []
  for (let client = await connect(databaseUrl); client !== undefined; client = await connect(databaseUrl)) {
    client.on('error', () => undefined) // the server may be killed meanwhile
    others.push(client)
  }
  // One whose server is gone may never say that it has ended.
  const end = (client: Client) => Promise.race([client.end().catch(() => undefined), pause(patienceMs)])
  return async () => {
    await Promise.all(others.map(end))
  }
}

type Client = Awaited<ReturnType<typeof pgClient>>
const patienceMs = 2_000

/** Undefined where there is no connection to be had, or none in time. */
async function connect(databaseUrl: string): Promise<Client | undefined> {
  const connecting = pgClient(databaseUrl).catch(() => undefined)
  const client = await Promise.race([connecting, pause(patienceMs)])
  if (client === undefined) void connecting.then((late) => late?.end())
  return client ?? undefined
}

/** As many busy loops as there are cores, twice. */
async function burn(): Promise<() => Promise<void>> {
  const busy = Array.from({ length: 2 * availableParallelism() }, () =>
    spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }),
  )
  return async () => {
    for (const child of busy) child.kill('SIGKILL')
  }
}
