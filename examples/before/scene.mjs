// What the programs here stand on, so that each shows nothing but its idea: the real PostgreSQL and Kafka, tables in a
// schema `before`, a topic of its own, and a small HTTP server. All of it is taken away again when the program ends.
import { createServer } from 'node:http'
import { connectDatabase, raw, sql } from '@likewise/database'
import { buildPublisher, ensureTopics, removeGroups, removeTopics, subscribe } from '@likewise/kafka'
import { buildLogger, loadEnvFile, parseBrokers, pause } from '@likewise/service'

/** @param tables what `create table` says between the brackets, by name */
export async function openScene(name, tables) {
  loadEnvFile(`${process.env.LIKEWISE_HOME ?? '.likewise'}/env`)
  const log = buildLogger({ service: name, level: 'silent' })
  const brokers = parseBrokers(process.env.KAFKA_BROKERS)
  const kafka = { brokers, clientId: `before-${name}`, requestTimeoutMs: 3_000, log }
  const topic = process.env.TOPIC ?? `before-${name}-${Date.now()}`
  const limits = { poolSizeMax: 10, connectTimeoutMs: 2_000, statementTimeoutMs: 10_000 }
  const db = connectDatabase({ url: process.env.CATALOG_DATABASE_URL, applicationName: name, ...limits })
  const publisher = buildPublisher({ ...kafka, sendLimitMs: 3_000 })
  const prefix = name.replaceAll('-', '_')
  const table = (what) => raw(`before.${prefix}_${what}`)
  const dropTables = async () => {
    for (const what of Object.keys(tables).reverse())
      await db.execute(sql`drop table if exists ${table(what)}`)
  }

  await db.execute(sql`create schema if not exists before`)
  await dropTables() // of a run that was killed
  for (const [what, columns] of Object.entries(tables)) {
    await db.execute(sql`create table ${table(what)} (${raw(columns.replaceAll('$', `before.${prefix}_`))})`)
  }
  await ensureTopics(kafka, [{ topic, partitions: 1, replicationFactor: 1, retentionMs: 3_600_000 }])

  async function clear() {
    await publisher.stop()
    await dropTables()
    // Another program here may still have its tables in it.
    await db.execute(sql`do $$ begin drop schema if exists before;
      exception when dependent_objects_still_exist then null; end $$`)
    await db.stop()
    await patiently(() => removeTopics(kafka, [topic]))
    await patiently(() => removeGroups(kafka, [topic]))
  }

  return {
    db,
    table,
    /** Resolves when Kafka has acknowledged it. */
    publish: ({ userId, productId }) =>
      publisher.publish([
        { topic, key: `${productId}`, value: JSON.stringify({ userId, productId }), headers: {} },
      ]),
    /** Calls `onRecord` for every record of the topic, from the first on; returns what stops it. */
    onEveryRecord(onRecord) {
      const onBatch = async ({ records }) => {
        for (const { value } of records) await onRecord(JSON.parse(value))
      }
      const fail = (error) => stopWith(error, clear)
      const subscriber = subscribe({ ...kafka, groupId: topic, topic, partitionsAtOnceMax: 1, onBatch, fail })
      return () => subscriber.stop()
    },
    serve: (handlers) => serve(handlers, clear),
  }
}

/** POST /api/likes and GET /api/products/ID/metrics, as the real ones; runs until a signal, or until its parent ends. */
function serve({ onLike, likeCount, onStop }, clear) {
  const server = createServer(async (request, response) => {
    const answer = (status, body) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    }
    try {
      const [, productId] = /^\/api\/products\/(\d+)\/metrics$/.exec(request.url) ?? []
      if (likeCount && productId)
        return answer(200, { likeCount: Number(await likeCount(Number(productId))) })
      if (!onLike || request.method !== 'POST') return answer(404, {})
      let text = ''
      for await (const chunk of request) text += chunk
      await onLike(JSON.parse(text))
      answer(201, {})
    } catch (error) {
      answer(503, { title: error.message })
    }
  })
  const stop = () => {
    server.close()
    server.closeAllConnections()
    stopWith(undefined, async () => {
      await onStop?.()
      await clear()
    })
  }
  process.once('SIGINT', stop).once('SIGTERM', stop).once('disconnect', stop)
  server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
    console.log(`listening on http://127.0.0.1:${server.address().port}`)
  })
}

/** Kafka may be on its way back. */
async function patiently(work) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work()
    } catch (error) {
      if (attempt === 20) throw error
      await pause(1_000)
    }
  }
}

// Whoever reads our words may have been killed; there is still something to clear away.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)

let stopping = false

async function stopWith(problem, clear) {
  if (stopping) return
  stopping = true
  await clear().catch((error) => (problem ??= error))
  if (problem) console.error(problem.message)
  process.exit(problem ? 1 : 0)
}
