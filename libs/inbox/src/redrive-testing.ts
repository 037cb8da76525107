import { randomUUID } from 'node:crypto'
import { type Database, type Tx, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, readWaiting } from '@likewise/database/testing'
import type { LikeEvent } from '@likewise/events'
import { pause } from '@likewise/service'
import { handleBatch } from './handle-batch.ts'
import type { BatchOutcome } from './piece.ts'
import type { InboxRecord } from './judgement.ts'
import type { KeyOutcome, RedriveAction } from './move-key.ts'
import { discard, redrive } from './redrive.ts'

const dayMs = 86_400_000
const horizon = { dedupHorizonMs: 30 * dayMs, futureMaxMs: dayMs }
export const topic = 'catalog-events'
type Work = RedriveAction['work']
type Asked = Partial<RedriveAction>

/** A consumer of its own, whose effect is a row for each time an event was applied: twice would show. */
export interface Bench {
  readonly db: Database
  readonly consumer: string
  handle(records: readonly InboxRecord[], partition?: number, work?: Work): Promise<BatchOutcome>
  redrive(selection: RedriveAction['selection'], asked?: Asked): Promise<KeyOutcome[]>
  discard(selection: RedriveAction['selection'], asked?: Asked): Promise<KeyOutcome[]>
  /** The offsets that were applied, in order. */
  applied(): Promise<number[]>
  /** Offset, reason and resolution of each letter. */
  letters(): Promise<[number, string, string | null][]>
  /** As a newer version, that can read what an older one could not. */
  mend(...offsets: number[]): Promise<unknown>
  /** Until somebody of this database waits for a lock. */
  somebodyWaits(): Promise<void>
  /** As of a mark that was lost. */
  forgetMarks(): Promise<unknown>
}

export async function freshBenches(name: string): Promise<TestDatabase & { bench: () => Bench }> {
  const test = await freshDatabase(name)
  await test.db.execute(
    sql`create table applied (consumer text, user_id bigint, n bigint generated always as identity); grant select, insert on applied to public`,
  )
  return { ...test, bench: () => benchOf(test, `test-${randomUUID()}`) }
}

export const applyAs =
  (consumer: string): Work =>
  async (tx: Tx, events: readonly LikeEvent[]) => {
    await tx.execute(sql`
      insert into applied (consumer, user_id) select ${consumer}, user_id
      from unnest(${events.map(({ data }) => data.userId)}::bigint[]) with ordinality as e(user_id, place) order by place`)
  }

function benchOf(test: TestDatabase, consumer: string): Bench {
  const { db } = test
  const operator = test.as('likewise_operator')
  const work = applyAs(consumer)
  const all = async (moves: AsyncGenerator<KeyOutcome>) => {
    const outcomes: KeyOutcome[] = []
    for await (const outcome of moves) outcomes.push(outcome)
    return outcomes
  }
  const action = { consumer, actor: 'test', horizon, work }
  return {
    db,
    consumer,
    handle: (records, partition = 0, effect = work) =>
      handleBatch(test.as('likewise_consumer'), {
        scope: { consumer, topic, partition },
        records,
        horizon,
        work: effect,
      }),
    redrive: (selection, asked = {}) => all(redrive(operator, { ...action, selection, ...asked })),
    discard: (selection, asked = {}) => all(discard(operator, { ...action, selection, ...asked })),
    async applied() {
      const rows = await db.query<{ offset: number }>(
        sql`select (user_id - 1)::float8 as "offset" from applied where consumer = ${consumer} order by n`,
      )
      return rows.map(({ offset }) => offset)
    },
    async letters() {
      const rows = await db.query<{ offset: number; reason: string; resolution: string | null }>(sql`
        select record_offset::float8 as "offset", reason, resolution from metrics.dead_letters
        where consumer = ${consumer} order by partition, record_offset`)
      return rows.map(({ offset, reason, resolution }) => [offset, reason, resolution])
    },
    mend: (...offsets) =>
      db.execute(sql`
        update metrics.dead_letters set record_value = convert_to(format(
          '{"userId":%s,"productId":%s,"createdAt":"2026-11-22T09:14:05.402817Z"}', record_offset + 1, record_key), 'UTF8')
        where consumer = ${consumer} and record_offset = any (${offsets}::bigint[])`),
    async somebodyWaits() {
      for (const end = performance.now() + 20_000; (await readWaiting(db)).length === 0; await pause(10)) {
        if (performance.now() > end) throw new Error('Not within 20 s: somebody waits for a lock')
      }
    },
    forgetMarks: () => db.execute(sql`delete from metrics.consumer_offsets where consumer = ${consumer}`),
  }
}
