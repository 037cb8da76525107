import type { Command } from 'commander'
import { type Database, sql } from '@likewise/database'
import { topics } from '@likewise/events'
import { type WholeLetter, readDeadLetters, readInboxAudit, readRemembered } from '@likewise/inbox'
import { readProductMetrics } from '@likewise/metrics'
import {
  type AuditEntry,
  type OutboxTrace,
  type TraceSelection,
  readOutboxAudit,
  readOutboxTraces,
} from '@likewise/outbox'
import { Failure, readConfig } from '@likewise/service'
import { uuid } from './arguments.ts'
import { catalogOf, connect, metricsOf, wholeNumber } from './catalog.ts'
import { CliConfig } from './config.ts'
import { plainJson } from './dead-letters-view.ts'
import type { Tools } from './rebuild.ts'
import { type FoundRecord, findRecord } from './trace-record.ts'
import { traceText } from './trace-view.ts'

interface Options {
  product?: number
  user?: number
  limit: number
  consumer?: string
  json?: boolean
}

/** A step on the way of an event. */
export interface Stage {
  /** By the clock of whoever has done it; null: it has no time, or has not happened. */
  readonly at: Date | null
  readonly stage:
    | 'liked'
    | 'enqueued'
    | 'parked'
    | 'published'
    | 'settled'
    | 'handled'
    | 'discarded'
    | 'dead_letter'
    | 'resolved'
    | 'counted'
    | 'audited'
  readonly detail: string
}

export interface Trace {
  readonly eventId: string
  readonly eventType: string | null
  readonly userId: number | null
  readonly productId: number | null
  readonly traceparent: string | null
  /** Where it is now. */
  readonly state: string
  readonly stages: readonly Stage[]
}

/** `likewise trace`: one event from the like to its count. */
export function addTraceCommand(program: Command, tools: Tools): void {
  program
    .command('trace')
    .description('follows an event from the like to its count, with the time of each step')
    .argument('[event]', 'its id', uuid)
    .option('--product <id>', "instead: a user's events about this product, the newest first", id)
    .option('--user <id>', 'of this user', id)
    .option('--limit <n>', 'at most so many', wholeNumber(100), 5)
    .option('--consumer <name>', 'whose handling; CONSUMER_GROUP unless set')
    .option('--json', 'machine-readable')
    .action((event: string | undefined, options: Options) => trace(event, options, tools))
}

interface Context {
  readonly catalog: Database
  readonly metrics: Database
  readonly kafka: ReturnType<Tools['kafkaOptions']>
  readonly consumer: string
  readonly topic: string
}

async function trace(event: string | undefined, options: Options, tools: Tools): Promise<void> {
  const selection = selectionOf(event, options)
  const config = readConfig(CliConfig)
  const context: Context = {
    catalog: connect(catalogOf(config), 60_000),
    metrics: connect(metricsOf(config), 60_000),
    kafka: tools.kafkaOptions(config),
    consumer: options.consumer ?? config.CONSUMER_GROUP,
    topic: tools.topic ?? topics.catalogEvents,
  }
  try {
    const written = await readOutboxTraces(context.catalog, selection, options.limit)
    const traces: Trace[] = []
    for (const one of written) traces.push(await follow(context, one))
    if ('eventId' in selection && traces.length === 0)
      traces.push(await followUnwritten(context, selection.eventId))
    if (traces.length === 0) throw nothingOf(selection)
    if (options.json) tools.output.say(plainJson(traces))
    else for (const line of traces.flatMap(traceText)) tools.output.say(line)
  } finally {
    await Promise.all([context.catalog.stop(), context.metrics.stop()])
  }
}

function selectionOf(event: string | undefined, { product, user }: Options): TraceSelection {
  if (event !== undefined && product === undefined && user === undefined)
    return { eventId: event.toLowerCase() }
  if (event === undefined && product !== undefined && user !== undefined)
    return { key: String(product), userId: user }
  throw new Failure('CONFIG_INVALID', 'Say which event: its id, or --product and --user.')
}

const nothingOf = (selection: TraceSelection): Failure =>
  new Failure(
    'NOT_FOUND',
    'eventId' in selection
      ? `Nobody knows event ${selection.eventId}: neither the outbox, nor the consumer, nor a dead letter.`
      : `The outbox holds no event of user ${String(selection.userId)} about product ${selection.key}: ` +
          'they are kept for RELAY_RETENTION_DAYS.',
  )

interface Known {
  stages: Stage[]
  state: string
}

async function follow(context: Context, written: OutboxTrace): Promise<Trace> {
  const { partitionKey, id: eventId, eventType, traceparent, createdAt } = written
  const data = JSON.parse(written.payload) as { userId?: unknown; productId?: unknown }
  const [userId, productId] = [numberOf(data.userId), numberOf(data.productId)]
  const isLike = eventType === 'catalog.like.added.v1'
  const liked =
    isLike && userId !== null && productId !== null ? await likeOf(context, userId, productId) : []
  const published = written.status === 'PUBLISHED'
  const record = await findRecord(context, { key: partitionKey, eventId, sinceMs: createdAt.getTime() })
  const own = await consumedOf(context, eventId)
  return {
    ...{ eventId, eventType, userId, productId, traceparent },
    state: own.state === '' ? (record ? 'on the topic, not handled' : stateOf(written)) : own.state,
    stages: [
      ...liked,
      stage('enqueued', createdAt, `outbox seq ${String(written.seq)}, shard ${String(written.shard)}`),
      ...(await outboxAuditOf(context, eventId)),
      ...(published || record ? [] : [stage('parked', null, `${written.status}${written.lastError === null ? '' : `: ${written.lastError}`}`)].filter(() => written.status !== 'PENDING')), // prettier-ignore
      ...recordStage(record),
      ...(written.window === null ? [] : [stage('settled', written.settledAt, `window ${String(written.window)} of shard ${String(written.shard)}`)]), // prettier-ignore
      ...own.stages,
      ...(own.isCounted && productId !== null ? await countOf(context, productId) : []),
    ],
  }
}

/** An event whose row the outbox no longer has, or never had. */
async function followUnwritten(context: Context, eventId: string): Promise<Trace> {
  const own = await consumedOf(context, eventId)
  const audits = await outboxAuditOf(context, eventId)
  if (own.stages.length + audits.length === 0) throw nothingOf({ eventId })
  const productId = own.key !== null && /^\d+$/.test(own.key) ? Number(own.key) : null
  return {
    ...{ eventId, eventType: own.eventType, userId: null, productId, traceparent: null, state: own.state },
    stages: [
      stage('enqueued', null, 'the outbox holds it no longer, or never did'),
      ...audits,
      ...own.stages,
      ...(own.isCounted && productId !== null ? await countOf(context, productId) : []),
    ],
  }
}

const stage = (name: Stage['stage'], at: Date | null, detail: string): Stage => ({ at, stage: name, detail })
const numberOf = (value: unknown): number | null => (typeof value === 'number' ? value : null)

const stateOf = ({ status }: OutboxTrace): string =>
  status === 'PUBLISHED' ? 'published, and not found on the topic' : `in the outbox: ${status}`

async function likeOf({ catalog }: Context, userId: number, productId: number): Promise<Stage[]> {
  const [like] = await catalog.query<{ at: Date }>(sql`
    select created_at as at from catalog.likes where user_id = ${BigInt(userId)} and product_id = ${BigInt(productId)}`)
  if (!like) return [stage('liked', null, 'taken away since')]
  return [stage('liked', like.at, `user ${String(userId)}, product ${String(productId)}`)]
}

const recordStage = (record: FoundRecord | null): Stage[] =>
  record === null
    ? []
    : [stage('published', new Date(record.timeMs), `${record.topic}/${String(record.partition)} at offset ${String(record.offset)}`)] // prettier-ignore

async function outboxAuditOf({ catalog }: Context, eventId: string): Promise<Stage[]> {
  return (await readOutboxAudit(catalog, eventId)).map(auditStage)
}

const auditStage = ({ at, actor, action, detail }: AuditEntry): Stage =>
  stage('audited', at, `${action} by ${actor}${detail === null ? '' : `: ${detail}`}`)

interface Consumed extends Known {
  key: string | null
  eventType: string | null
  isCounted: boolean
}

async function consumedOf({ metrics, consumer }: Context, eventId: string): Promise<Consumed> {
  const remembered = (await readRemembered(metrics, consumer, [eventId])).get(eventId)
  const letters = await readDeadLetters(metrics, consumer, { eventId })
  const audits = await readInboxAudit(metrics, eventId)
  const waits = letters.some(({ resolvedAt }) => resolvedAt === null)
  const isCounted = remembered?.discarded === false
  return {
    stages: [
      ...letters.flatMap(letterStages),
      ...audits.map(auditStage),
      ...(remembered ? [stage(remembered.discarded ? 'discarded' : 'handled', new Date(remembered.handledAt), `by ${consumer}`)] : []), // prettier-ignore
    ],
    state: isCounted ? 'counted' : remembered ? 'given up' : waits ? 'a dead letter' : letters.length > 0 ? 'given up' : '', // prettier-ignore
    key: remembered?.key ?? letters[0]?.key ?? null,
    eventType: remembered?.eventType ?? letters[0]?.eventType ?? null,
    isCounted,
  }
}

function letterStages({
  id: number,
  reason,
  detail,
  parkedAt,
  resolvedAt,
  resolution,
  ...at
}: WholeLetter): Stage[] {
  const place = `${at.topic}/${String(at.partition)} at offset ${String(at.offset)}`
  return [
    stage('dead_letter', parkedAt, `number ${String(number)}, ${reason}: ${detail} (${place})`),
    ...(resolvedAt === null ? [] : [stage('resolved', resolvedAt, resolution ?? '')]),
  ]
}

async function countOf({ metrics }: Context, productId: number): Promise<Stage[]> {
  const { likeCount, updatedAt } = await readProductMetrics(metrics, productId)
  return [stage('counted', updatedAt === null ? null : new Date(updatedAt), `product ${String(productId)} has ${String(likeCount)} likes, as of its last change`)] // prettier-ignore
}

function id(text: string): number {
  if (!/^[1-9]\d{0,15}$/.test(text) || Number(text) > Number.MAX_SAFE_INTEGER)
    throw new Failure('CONFIG_INVALID', 'An id is a whole number from 1 to 9007199254740991.')
  return Number(text)
}
