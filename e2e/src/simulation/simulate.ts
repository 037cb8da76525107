import type { Verdict } from '../checker/verdict.ts'
import { check } from '../checker/check.ts'
import type { History, Request } from '../checker/history.ts'
import { type Broker, buildBroker } from './broker.ts'
import {
  type Catalog,
  type CatalogBugs,
  type Row,
  type Write,
  buildCatalog,
  uuidV7,
  epochMs,
} from './catalog.ts'
import { runConsumer } from './consumer.ts'
import { type CursorBugs, type Cursors, buildCursors } from './cursors.ts'
import { type Inbox, type InboxBugs, buildInbox } from './inbox.ts'
import { type RelayBugs, orOutage, runRelay } from './relay.ts'
import { type Process, type World, buildProcess, buildWorld } from './world.ts'

export type Bugs = CatalogBugs & CursorBugs & RelayBugs & InboxBugs

/** What happens: the clients' wishes, and the choices that decide what goes wrong. */
export interface Scenario {
  readonly clients: readonly (readonly (Write & { readonly pauseMs: number })[])[]
  readonly choices: readonly number[]
  /** Users whose likes the broker refuses. */
  readonly refused: readonly number[]
  /** Products into whose key somebody writes a record that cannot be read, and when. */
  readonly garbage: readonly { readonly productId: number; readonly atMs: number }[]
  /** Servers that answer nobody for a while. */
  readonly outages: readonly {
    readonly server: 'catalog' | 'broker' | 'inbox'
    readonly atMs: number
    readonly ms: number
  }[]
  /** The partitions' leaders change, and the new ones show an earlier end for a while. */
  readonly lags: readonly { readonly atMs: number; readonly ms: number; readonly records: number }[]
  /** The group's offsets go back to the beginning. */
  readonly replaysAtMs: readonly number[]
  /** Somebody redrives all dead letters, and gives up what cannot be read. */
  readonly redrivesAtMs: readonly number[]
}

export interface Outcome {
  readonly history: History
  readonly verdict: Verdict
  /** By the virtual clock, until all was quiet. */
  readonly ms: number
}

/** So long clients may take, and so long after that everything must be quiet. */
const [clientsMs, boundMs] = [30_000, 10_000]
const restartMs = 30
const [relays, consumers] = [2, 2]

/** One history from beginning to quiet, and what the checker says of it. Two of the same scenario are the same. */
export async function simulate(scenario: Scenario, bugs: Bugs = {}): Promise<Outcome> {
  const world = buildWorld(scenario.choices)
  const catalog = buildCatalog(world, bugs)
  const system: System = {
    world,
    catalog,
    cursors: buildCursors(world, catalog, bugs),
    broker: buildBroker(world),
    inbox: buildInbox(world, bugs),
    refuses: ({ userId }) => scenario.refused.includes(userId),
    bugs,
    starts: 0,
  }
  plan(system, scenario)
  for (let i = 0; i < relays; i += 1) keep(system, 'relay', i)
  for (let i = 0; i < consumers; i += 1) keep(system, 'consumer', i)
  const requests: Request[] = []
  let open = scenario.clients.length
  for (const [i, writes] of scenario.clients.entries()) {
    void runClient(system, { name: `client-${i}`, writes, requests }).then(() => (open -= 1))
  }
  await world.run(clientsMs, () => open === 0)
  await world.run(world.now() + boundMs, () => isQuiet(system))
  const ms = world.now()
  system.inbox.redriveAll()
  const history = historyOf(system, requests)
  return { history, verdict: check(history), ms }
}

interface System {
  world: World
  catalog: Catalog
  cursors: Cursors
  broker: Broker
  inbox: Inbox
  refuses: (row: Row) => boolean
  bugs: Bugs
  /** Processes started so far: no two have one name. */
  starts: number
}

function plan({ world, catalog, broker, inbox }: System, scenario: Scenario): void {
  const servers = { catalog: catalog.server, broker: broker.server, inbox: inbox.server }
  for (const { server, atMs, ms } of scenario.outages) {
    world.at(atMs, () => void (servers[server].downUntilMs = atMs + ms))
  }
  for (const { productId, atMs } of scenario.garbage) {
    world.at(atMs, () => {
      const partition = productId % broker.partitions.length
      broker.append(partitionOf(catalog, productId) ?? partition, garbageOf(productId, atMs))
    })
  }
  for (const { atMs, ms, records } of scenario.lags) world.at(atMs, () => broker.lag(records, atMs + ms))
  for (const atMs of scenario.redrivesAtMs) world.at(atMs, () => inbox.redriveAll())
  for (const atMs of scenario.replaysAtMs) world.at(atMs, () => void broker.committed.fill(0))
}

const partitionOf = ({ rows }: Catalog, productId: number): number | undefined =>
  rows.find((row) => row.productId === productId)?.shard

const garbageOf = (productId: number, atMs: number) => ({
  key: String(productId),
  value: '{',
  headers: { ce_id: uuidV7(epochMs + atMs, 1_000_000 + productId) },
})

/** A process that is started again whenever it dies, as a platform does. */
function keep(system: System, app: 'relay' | 'consumer', place: number): void {
  const { world } = system
  system.starts += 1
  const name = `${app}-${place}-${String(system.starts).padStart(4, '0')}`
  const process = buildProcess(world, name, () => {
    world.at(world.now() + restartMs, () => keep(system, app, place))
  })
  if (app === 'relay') runRelay({ ...system, process, owner: process.name })
  else runConsumer({ ...system, process })
}

/** A client has one request at a time, and goes on whatever becomes of it. */
async function runClient(
  { world, catalog }: System,
  { name, writes, requests }: { name: string; writes: Scenario['clients'][number]; requests: Request[] },
): Promise<void> {
  for (const write of writes) {
    // One that is killed is not to be waited for: its last request stays without an answer.
    const { userId, productId, liked } = write
    const beganMs = world.now()
    const asked = { userId, productId, liked, beganMs }
    let answer: Request = { ...asked, answer: 'unknown' }
    await new Promise<void>((resolve) => {
      const process: Process = buildProcess(world, name, resolve)
      void orOutage(async () => {
        const [changed = false] = await process.call(catalog.server, () => catalog.write([asked]), 150)
        answer = { ...asked, answer: 'done', changed, endedMs: world.now() }
      }).then(() => resolve())
    })
    requests.push(answer)
    await world.sleep(write.pauseMs)
  }
}

function isQuiet({ catalog, cursors, broker, inbox }: System): boolean {
  return (
    catalog.snapshot().open.size === 0 &&
    catalog.rows.every((row) => cursors.statusOf(row) !== 'PENDING') &&
    broker.partitions.every((log, i) => log.length === Number(inbox.marks.get(i)?.nextOffset ?? 0n))
  )
}

function historyOf(
  { catalog, cursors, broker, inbox, refuses }: System,
  requests: readonly Request[],
): History {
  const held = new Set(catalog.rows.filter(refuses).map(({ productId }) => productId))
  const events = catalog.rows.map((row) => ({ ...row, status: cursors.statusOf(row) }))
  return {
    requests,
    likes: [...catalog.likes.values()],
    events,
    records: broker.partitions.flatMap((log, partition) =>
      log.map(({ offset, headers, value }) => {
        const row = catalog.rows.find(({ id }) => id === headers['ce_id'])
        const event =
          value?.length === 1
            ? null
            : { userId: 0, productId: 0, added: true, ...row, id: String(headers['ce_id']) }
        return { partition, offset: Number(offset), event }
      }),
    ),
    transactions: inbox.transactions,
    counts: [...inbox.counts].map(([productId, count]) => ({ productId, count })),
    marks: broker.partitions.map((log, partition) => {
      return { partition, next: Number(inbox.marks.get(partition)?.nextOffset ?? 0n), end: log.length }
    }),
    logChanges: [],
    letters: [
      ...inbox.letters
        .filter(({ resolution }) => resolution !== 'redriven')
        .map(({ partition, parked: { record, eventId, reason }, resolution }) => ({
          ...{ partition, offset: Number(record.offset), id: eventId, reason },
          discarded: resolution === 'discarded',
        })),
      // What was refused, and what waits behind it.
      ...events
        .filter(({ status, productId }) => status === 'PARKED' && held.has(productId))
        .map(({ id, shard }) => ({ partition: shard, offset: -1, id, reason: 'refused', planted: true })),
    ],
  }
}
