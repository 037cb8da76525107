import { raw, sql } from '@likewise/database'
import { urlAs } from '@likewise/database/testing'
import { ensureTopics, removeTopics } from '@likewise/kafka'
import { idAt } from './rebuild-testing.ts'
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals'
import { type Check, addDoctorCommand } from './doctor.ts'
import { type VerifyWorld, kafka, openWorld } from './verify-testing.ts'

// See libs/kafka/src/subscriber.int.spec.ts: kafkajs may wedge in silence while it joins a group.
jest.retryTimes(2, { logErrorsBeforeRetry: true })
jest.setTimeout(120_000)

const dayMs = 86_400_000
let world: VerifyWorld
let deadLetters: string

beforeAll(async () => {
  world = await openWorld()
  deadLetters = `${world.topic}-dlq`
  await ensureTopics(kafka, [
    {
      topic: deadLetters,
      partitions: 12,
      replicationFactor: 1,
      retentionMs: 14 * dayMs,
      maxMessageBytes: 2_000_000,
    },
  ])
  world.startRelay()
  world.startConsumer()
  await world.like(1, 1)
  await world.handled(1)
})
afterAll(async () => {
  await world.stop()
  await removeTopics(kafka, [deadLetters])
})

async function doctor(): Promise<{ level: string; code: number; checks: Map<string, Check> }> {
  const { text, code } = await world.run(addDoctorCommand, 'doctor', '--json')
  const { level, checks } = JSON.parse(text) as { level: string; checks: Check[] }
  const found = new Map<string, Check>()
  // Of several that one look says, the worst.
  for (const check of checks) if (found.get(check.name)?.level !== 'fail') found.set(check.name, check)
  return { level, code, checks: found }
}

const check = async (name: string): Promise<Check | undefined> => (await doctor()).checks.get(name)

describe('likewise doctor', () => {
  it('finds nothing to mend where all is well, and one broker to think about', async () => {
    const { checks, code } = await doctor()
    // The tests have one broker, which production should not.
    const odd = [...checks.values()]
      .filter(({ level }) => level !== 'ok')
      .map(({ name, level }) => `${level} ${name}`)
    expect(odd.toSorted()).toEqual(
      [
        `warn topic.${world.topic}.replication`,
        `warn topic.${deadLetters}.replication`,
        `warn topic.${world.topic}.retention`, // an hour, in these tests
      ].toSorted(),
    )
    expect(code).toBe(2)
    const { text } = await world.run(addDoctorCommand, 'doctor')
    expect(text).toMatch(/^ok {4}catalog\.connection +PostgreSQL 18/)
    expect(text).toMatch(/\n0 to mend, 3 to look at, \d+ well\.$/)
    expect(text).toContain('→ Three brokers, replication factor 3 and min.insync.replicas=2')
  })

  it('finds synchronous_commit off', async () => {
    const [{ name }] = (await world.metrics.query<{ name: string }>(
      sql`select current_database() as name`,
    )) as [{ name: string }]
    await world.metrics.execute(sql`alter database ${raw(name)} set synchronous_commit = off`)
    expect(await check('metrics.durability')).toMatchObject({
      level: 'warn',
      says: expect.stringContaining('synchronous_commit is off for whoever does not set it'),
    })
    await world.metrics.execute(sql`alter database ${raw(name)} reset synchronous_commit`)
    const { text } = await world.run(
      (program, tools) => {
        const url = new URL(process.env['CATALOG_DATABASE_URL'] ?? '')
        const options = `${url.searchParams.get('options') ?? ''} -c synchronous_commit=off`
        url.searchParams.set('options', options)
        process.env['CATALOG_DATABASE_URL'] = url.href
        addDoctorCommand(program, tools)
      },
      'doctor',
      '--json',
    )
    const { checks } = JSON.parse(text) as { checks: Check[] }
    expect(checks.find(({ name: its }) => its === 'catalog.durability')).toMatchObject({
      level: 'fail',
      says: expect.stringContaining('synchronous_commit is off for the services'),
    })
  })

  it('says that it may not see how long transactions are open', async () => {
    const { text } = await world.run(
      (program, tools) => {
        process.env['METRICS_DATABASE_URL'] = urlAs('likewise_reader', process.env['METRICS_DATABASE_URL'] ?? '') // prettier-ignore
        addDoctorCommand(program, tools)
      },
      'doctor',
      '--json',
    )
    const { checks } = JSON.parse(text) as { checks: Check[] }
    expect(checks.find(({ name }) => name === 'metrics.transactions')).toMatchObject({
      level: 'warn',
      todo: 'Let the owner run: grant pg_read_all_stats to likewise_reader;',
    })
    expect(checks.find(({ name }) => name === 'catalog.transactions')).toMatchObject({ level: 'ok' })
  })

  it('finds a migration that is missing, one that failed, and a database of another version', async () => {
    const rename = (from: string, to: string) =>
      world.catalog.execute(
        sql`update _prisma_migrations set migration_name = ${to} where migration_name = ${from}`,
      )
    await rename('20261127203000_rebuild', '20991231000000_of_the_future')
    expect(await check('catalog.migrations')).toMatchObject({ level: 'fail', says: '20261127203000_rebuild is not applied' }) // prettier-ignore
    await rename('20991231000000_of_the_future', '20261127203000_rebuild')
    await world.catalog.execute(sql`
      insert into _prisma_migrations (id, checksum, migration_name) values ('x', '', '20991231000000_of_the_future')`)
    expect(await check('catalog.migrations')).toMatchObject({ level: 'fail', says: '20991231000000_of_the_future failed' }) // prettier-ignore
    await world.catalog.execute(sql`update _prisma_migrations set finished_at = now() where id = 'x'`)
    expect(await check('catalog.migrations')).toMatchObject({ level: 'warn' })
    await world.catalog.execute(sql`delete from _prisma_migrations where id = 'x'`)
    expect(await check('catalog.migrations')).toMatchObject({ level: 'ok' })
  })

  it('finds a topic that keeps records for longer than ids are remembered, and one that is not there', async () => {
    const [long, other] = [`${deadLetters}-long`, `${deadLetters}-few`]
    await ensureTopics(kafka, [
      { topic: long, partitions: 12, replicationFactor: 1, retentionMs: 60 * dayMs },
    ])
    const { text } = await world.run(
      (program, tools) => addDoctorCommand(program, { ...tools, topic: long, deadLetters: other }),
      'doctor',
      '--json',
    )
    await removeTopics(kafka, [long])
    const { checks } = JSON.parse(text) as { checks: Check[] }
    expect(checks.find(({ name }) => name === `topic.${long}.retention`)).toMatchObject({
      level: 'fail',
      says: expect.stringContaining(
        'keeps records for 60.0 days: events older than the dedup horizon of 30 days',
      ),
      todo: 'To mend it set retention.ms to at most 2592000000.',
    })
    expect(checks.find(({ name }) => name === `topic.${other}`)).toMatchObject({
      level: 'fail',
      says: 'it is not there',
      todo: 'likewise topics',
    })
  })

  it('says that Kafka is away, and what is known all the same', async () => {
    const { text, code } = await world.run(
      (program, tools) =>
        addDoctorCommand(program, { ...tools, kafkaOptions: () => ({ ...kafka, brokers: ['127.0.0.1:1'] }) }),
      'doctor',
      '--json',
    )
    const { checks } = JSON.parse(text) as { checks: Check[] }
    const bad = checks.filter(({ level }) => level === 'fail').map(({ name }) => name)
    expect(bad).toEqual(['kafka.connection', 'consumer.group', 'consumer.lag'])
    expect(checks.find(({ name }) => name === 'outbox.relays')?.level).toBe('ok')
    expect(code).toBe(1)
  })

  it('says that a database is away', async () => {
    const { text } = await world.run(
      (program, tools) => {
        process.env['METRICS_DATABASE_URL'] = 'postgresql://nobody@127.0.0.1:1/nowhere'
        addDoctorCommand(program, tools)
      },
      'doctor',
      '--json',
    )
    const { checks } = JSON.parse(text) as { checks: Check[] }
    expect(checks.find(({ name }) => name === 'metrics.connection')).toMatchObject({ level: 'fail' })
    expect(checks.find(({ name }) => name === 'catalog.connection')).toMatchObject({ level: 'ok' })
  })

  it('finds rows and ids that nobody has purged', async () => {
    await world.stopRelay() // the row goes again, and a relay that has it in hand must not miss it
    await world.catalog.execute(sql`
      insert into catalog.outbox_events (shard, slot, aggregate_type, aggregate_id, event_type, topic, partition_key, payload)
      values (0, ((floor(extract(epoch from now()) / 86400)::bigint + 1) % 10)::smallint, 'x', 'x', 'x', 'nowhere', 'x', '{}')`)
    expect(await check('outbox.purge')).toMatchObject({ level: 'warn' })
    await world.catalog.execute(sql`delete from catalog.outbox_events where topic = 'nowhere'`)
    world.startRelay()
    const old = idAt(Date.now() - 34 * dayMs)
    await world.metrics.execute(sql`
      insert into metrics.event_handled (consumer, event_id, slot, event_type, aggregate_type, aggregate_id)
      values (${world.consumer}, ${old}::uuid, metrics.handled_slot(${old}::uuid), 'x', 'x', 'x')`)
    expect(await check('inbox.purge')).toMatchObject({
      level: 'warn',
      says: 'ids of 34 days ago are still there: the ring only grows',
    })
    await world.metrics.execute(sql`delete from metrics.event_handled where event_id = ${old}::uuid`)
  })

  it('finds a replication slot that is lost, and one that nobody needs', async () => {
    await world.catalog.execute(sql`update catalog.outbox_meta set mode = 'wal'`)
    expect(await check('outbox.slot')).toMatchObject({
      level: 'fail',
      says: expect.stringContaining('it does not exist'),
    })
    await world.catalog.execute(sql`update catalog.outbox_meta set mode = 'poll'`)
    expect(await check('outbox.slot')).toMatchObject({ level: 'ok' })
  })

  it('finds an outbox of another cluster', async () => {
    const [meta] = await world.catalog.query<{ id: string }>(
      sql`select system_identifier as id from catalog.outbox_meta`,
    )
    await world.catalog.execute(sql`update catalog.outbox_meta set system_identifier = '1'`)
    expect(await check('outbox.identity')).toMatchObject({
      level: 'fail',
      todo: 'likewise outbox recover --dry-run, then without it',
    })
    await world.catalog.execute(sql`update catalog.outbox_meta set system_identifier = ${meta?.id}`)
  })

  it('finds relays and consumers that are not there, and what waits for them', async () => {
    await world.stopRelay()
    await world.stopConsumer()
    await world.like(2, 1)
    const { checks, code } = await doctor()
    expect(checks.get('outbox.relays')).toMatchObject({ level: 'fail', todo: 'Start outbox-relay.' })
    expect(checks.get('outbox.backlog')).toMatchObject({ says: expect.stringMatching(/^1 events wait, the oldest for/) }) // prettier-ignore
    expect(checks.get('consumer.group')).toMatchObject({ level: 'fail', todo: 'Start metrics-consumer.' })
    expect(code).toBe(1)
    world.startRelay()
    world.startConsumer()
    await world.handled(2)
  })

  it('finds what is parked, and dead letters', async () => {
    await world.metrics.execute(sql`
      insert into metrics.dead_letters (consumer, topic, partition, record_offset, record_key, reason, detail, blocks_key,
        parked_at)
      values (${world.consumer}, ${world.topic}, 0, 99, '5', 'not_json', 'planted', true, now() - interval '1 hour')`)
    await world.catalog.execute(sql`
      insert into catalog.outbox_parked (seq, id, shard, aggregate_type, aggregate_id, event_type, topic, partition_key,
        payload, created_at, reason, detail, attempts)
      values (99, uuidv7(), 0, 'x', 'x', 'x', 'nowhere', 'x', '{}', now(), 'refused', 'planted', 3)`)
    const { checks } = await doctor()
    expect(checks.get('outbox.parked')).toMatchObject({
      level: 'warn',
      says: '1 events of 1 keys are parked',
    })
    expect(checks.get('inbox.letters')).toMatchObject({ level: 'warn', says: 'dead letters wait: 1 not_json; they hold back 1 keys' }) // prettier-ignore
    expect(checks.get('inbox.copies')).toMatchObject({ level: 'warn' })
  })

  it('finds a topic that was made again behind the consumer, and records that expired unread', async () => {
    await world.metrics.execute(sql`
      update metrics.consumer_offsets set next_offset = 1000 where consumer = ${world.consumer} and partition = (
        select min(partition) from metrics.consumer_offsets where consumer = ${world.consumer})`)
    expect(await check('consumer.lag')).toMatchObject({ level: 'fail', says: expect.stringContaining('ends before where') }) // prettier-ignore
  })
})
