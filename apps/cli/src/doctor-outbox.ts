import type { Database } from '@likewise/database'
import {
  countParked,
  identityFault,
  isRingFull,
  readBacklog,
  readResets,
  readWalHealth,
  slotFault,
} from '@likewise/outbox'
import { type Check, fail, looked, ok, warn } from './doctor.ts'
import { counted } from './progress.ts'
import { age } from './table.ts'

const lateMs = 60_000
/** WAL that can still be written before the slot is lost. */
const slotSafeBytesMin = 1_073_741_824

/** The producer side between likes and Kafka. */
export async function checkOutbox(db: Database): Promise<Check[]> {
  return [
    ...(await looked('outbox.identity', async () => {
      const fault = await identityFault(db)
      return fault
        ? fail('outbox.identity', fault.message, 'likewise outbox recover --dry-run, then without it')
        : ok('outbox.identity', 'the cursors belong to this cluster')
    })),
    ...(await looked('outbox.relays', () => checkRelays(db))),
    ...(await looked('outbox.parked', async () => {
      const { events, keys } = await countParked(db)
      if (events === 0n) return ok('outbox.parked', 'nothing is parked')
      return warn('outbox.parked', `${counted(Number(events))} events of ${counted(Number(keys))} keys are parked`, 'likewise outbox parked says why; then likewise outbox redrive or discard') // prettier-ignore
    })),
    ...(await looked('outbox.topic', async () => {
      const [reset] = await readResets(db)
      if (!reset) return ok('outbox.topic', 'the topic has lost nothing that was acknowledged')
      return fail('outbox.topic', `${reset.topic}/${String(reset.partition)} has lost records, seen ${reset.resetAt.toISOString()}`, 'likewise outbox republish --since <the last good time>') // prettier-ignore
    })),
    ...(await looked('outbox.purge', async () => {
      if (!(await isRingFull(db))) return ok('outbox.purge', 'the ring has room')
      return warn('outbox.purge', 'rows of nine days ago are still there: the outbox only grows', 'A relay purges hourly what is older than RELAY_RETENTION_DAYS and published: see its log, and that one holds shard 0.') // prettier-ignore
    })),
    ...(await looked('outbox.slot', () => checkSlot(db))),
  ]
}

async function checkRelays(db: Database): Promise<Check[]> {
  const shards = await readBacklog(db)
  const { mode } = await readWalHealth(db)
  const relays = new Set(shards.flatMap(({ owner }) => owner ?? []))
  const free = shards.filter(({ owner }) => owner === null)
  const failing = shards.filter(({ attempts }) => attempts > 0)
  const oldest = Math.max(0, ...shards.flatMap(({ oldestAgeMs }) => oldestAgeMs ?? []))
  const pending = shards.reduce((sum, shard) => sum + Number(shard.pending), 0)
  const waits = `${counted(pending)} events wait${pending === 0 ? '' : `, the oldest for ${age(oldest)}`}`
  return [
    relays.size === 0
      ? fail('outbox.relays', 'no relay is alive: likes are accepted, and nothing is published', 'Start outbox-relay.') // prettier-ignore
      : free.length > 0 && mode === 'poll'
        ? warn('outbox.relays', `nobody holds shard ${free.map(({ shard }) => shard).join(', ')}`, 'A relay takes them within seconds; if not, see its log.') // prettier-ignore
        : ok('outbox.relays', `${String(relays.size)} ${relays.size === 1 ? 'relay holds' : 'relays hold'} all shards`), // prettier-ignore
    failing.length > 0
      ? fail('outbox.backlog', `${waits}; sends fail: ${failing[0]?.lastError ?? ''}`, 'Nothing is lost, it is tried for ever; see Kafka, and the rights of the relay.') // prettier-ignore
      : oldest > lateMs
        ? warn(
            'outbox.backlog',
            waits,
            'Relays are too few, too slow, or cannot reach Kafka: see their logs.',
          )
        : ok('outbox.backlog', waits),
  ]
}

async function checkSlot(db: Database): Promise<Check> {
  const health = await readWalHealth(db)
  const { mode, slot } = health
  if (mode === 'poll') {
    if (!slot?.ours) return ok('outbox.slot', 'the outbox is polled')
    return warn('outbox.slot', 'the outbox is polled, and a replication slot keeps WAL that nobody reads', 'likewise outbox wal disable') // prettier-ignore
  }
  const fault = slotFault(health)
  if (fault !== null) return fail('outbox.slot', fault, 'likewise outbox wal disable, then enable')
  if (slot?.active === false)
    return fail('outbox.slot', 'nobody reads the replication slot: nothing is published, and WAL is kept', 'Start outbox-relay, or likewise outbox wal disable.') // prettier-ignore
  if (slot?.safeWalSize === null)
    return warn('outbox.slot', 'max_slot_wal_keep_size is not set: a slot that nobody reads fills the disk', 'alter system set max_slot_wal_keep_size = …; select pg_reload_conf();') // prettier-ignore
  if ((slot?.safeWalSize ?? Infinity) < slotSafeBytesMin)
    return warn('outbox.slot', 'the replication slot is near its end', 'See why its reader is slow, or raise max_slot_wal_keep_size.') // prettier-ignore
  return ok('outbox.slot', 'the replication slot is read')
}
