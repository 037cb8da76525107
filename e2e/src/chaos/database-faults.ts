import { sql } from '@likewise/database'
import { openTx, pgClient } from '@likewise/database/testing'
import { pause } from '@likewise/service'
import { lockCursors, lockEffects, lockOutbox, terminate } from '../faults/table-lock.ts'
import { type Heal, type Inject, byItself } from './injection.ts'
import type { Stage } from './stage.ts'

const lockOf = { 'like-api': lockOutbox, 'outbox-relay': lockCursors, 'metrics-consumer': lockEffects }

/** What happens between the services and PostgreSQL. */
export const databaseFaults = {
  terminate: async ({ db }, { app }) => {
    await terminate(db, app)
    return byItself
  },
  'held-transaction': async ({ db }) => {
    const open = await openTx(db)
    await open.tx.query(sql`select pg_current_xact_id()::text as xid`)
    // The server may have ended it meanwhile.
    return () => open.commit().catch(() => undefined)
  },
  // Whoever of the app writes waits, until no connection of its pool is left to the others.
  pool: async ({ db }, { app }) => {
    const lock = await lockOf[app](db)
    return () => lock.release().catch(() => undefined)
  },
  connections: takeConnections,
} satisfies Record<string, Inject>

/** Opens connections until PostgreSQL has none left, those of the services excepted. */
async function takeConnections({ databaseUrl }: Stage): Promise<Heal> {
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
