import { type Database, sql } from '@likewise/database'
import { readCountedThrough, readLetterBacklog, readNextOffsets, readRebuild } from '@likewise/inbox'
import { type KafkaOptions, readGroupHealth, readTopicEnds } from '@likewise/kafka'
import { type Check, fail, looked, ok, warn } from './doctor.ts'
import { counted } from './progress.ts'
import { age } from './table.ts'

interface About {
  readonly db: Database
  readonly kafka: KafkaOptions
  readonly consumer: string
  readonly topic: string
}

const lateMs = 60_000
/** A slot of the ring of handled ids must be empty before it is used again. */
const idsKeptDays = 33

/** The consumer side between Kafka and the counts. */
export async function checkConsumer(about: About): Promise<Check[]> {
  const { db, kafka, consumer } = about
  return [
    ...(await looked('consumer.group', async () => {
      const { state, members } = await readGroupHealth(kafka, consumer)
      if (members === 0) return fail('consumer.group', `nobody is in the group ${consumer}: nothing is counted`, 'Start metrics-consumer.') // prettier-ignore
      if (state !== 'Stable') return warn('consumer.group', `the group ${consumer} is ${state}`, 'It settles within a minute; if not, see the logs of its members.') // prettier-ignore
      return ok('consumer.group', `${String(members)} ${members === 1 ? 'member' : 'members'} of ${consumer}`)
    })),
    ...(await looked('consumer.lag', () => checkLag(about))),
    ...(await looked('inbox.letters', async () => {
      const { byReason, keys, uncopied, oldestUncopiedAgeMs } = await readLetterBacklog(db, consumer)
      const letters = Object.entries(byReason).map(([reason, n]) => `${String(n)} ${reason}`)
      return [
        letters.length === 0
          ? ok('inbox.letters', 'no dead letter waits')
          : warn('inbox.letters', `dead letters wait: ${letters.join(', ')}; they hold back ${counted(keys)} keys`, 'likewise dead-letters list; then redrive or discard'), // prettier-ignore
        (oldestUncopiedAgeMs ?? 0) > lateMs
          ? warn('inbox.copies', `${counted(uncopied)} dead letters are not yet on the dead-letter topic, the oldest for ${age(oldestUncopiedAgeMs ?? 0)}`, 'See the log of metrics-consumer, and that it may write to that topic.') // prettier-ignore
          : ok('inbox.copies', 'every dead letter is on its topic'),
      ]
    })),
    ...(await looked('inbox.purge', () => checkPurge(about))),
    ...(await looked('inbox.rebuild', async () => {
      const state = await readRebuild(db)
      if (!state) return ok('inbox.rebuild', 'no rebuild lies about')
      if (state.isHeld) return ok('inbox.rebuild', `${state.ownerName} works on a rebuild`)
      return warn('inbox.rebuild', `a rebuild of ${state.begunAt.toISOString()} lies about, and takes room`, 'likewise rebuild goes on with it, likewise rebuild --drop gives it up') // prettier-ignore
    })),
  ]
}

/** The marks first: one beyond an end that was told after it is no race. */
async function checkLag({ db, kafka, consumer, topic }: About): Promise<Check> {
  const marks = await readNextOffsets(db, consumer, topic)
  const through = await readCountedThrough(db, { consumer, topic })
  const ends = await readTopicEnds(kafka, topic)
  const beyond = ends.filter(({ partition, end }) => (marks.get(partition) ?? 0n) > end)
  if (beyond.length > 0)
    return fail('consumer.lag', `${topic}/${beyond.map(({ partition }) => String(partition)).join(', ')} ends before where ${consumer} is: the topic was made again, or has lost its end`, 'The consumer sees that with its next record; likewise outbox republish --since … brings again what is missing.') // prettier-ignore
  const lag = ends.reduce((sum, { partition, start, end }) => {
    const next = marks.get(partition) ?? 0n
    return sum + Number(end - (next > start ? next : start))
  }, 0)
  const expired = ends.filter(({ partition, start }) => (marks.get(partition) ?? 0n) < start && start > 0n)
  if (expired.length > 0)
    return fail('consumer.lag', `records of ${topic}/${expired.map(({ partition }) => String(partition)).join(', ')} expired before they were read`, 'likewise outbox republish --since … brings again what the outbox still holds; likewise verify says what is missing.') // prettier-ignore
  const says = `${counted(lag)} records behind`
  const lateBy = through.all === null ? null : Date.now() - Date.parse(through.all)
  if (lag > 0 && lateBy !== null && lateBy > lateMs)
    return warn('consumer.lag', `${says}, since ${age(lateBy)}`, 'See the logs of metrics-consumer, or run more of them (up to the number of partitions).') // prettier-ignore
  return ok('consumer.lag', says)
}

async function checkPurge({ db, consumer }: About): Promise<Check> {
  const [old] = await db.query<{ days: number }>(sql`
    select round(extract(epoch from clock_timestamp() - uuid_extract_timestamp(event_id)) / 86400)::int as days
    from (
      select event_id from metrics.event_handled where consumer = ${consumer} order by event_id limit 1
    ) as oldest
    where uuid_extract_timestamp(event_id) < clock_timestamp() - ${idsKeptDays} * interval '1 day'`)
  if (!old) return ok('inbox.purge', 'the ring of handled ids has room')
  return warn('inbox.purge', `ids of ${String(old.days)} days ago are still there: the ring only grows`, 'metrics-consumer purges hourly what is older than 31 days: see its log (CONSUMER_PURGE_EVERY_MS).') // prettier-ignore
}
