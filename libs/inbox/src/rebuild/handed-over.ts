import { type Queryable, type Tx, sql } from '@likewise/database'
import { aggregateType } from '@likewise/events'
import { keptDays } from '../purge.ts'
import type { Rebuild } from './rebuild.ts'

/**
 * Finds the ids that the rebuilt model counts and event_handled has not: lost ones, mostly none. All of them are of events
 * before the marks, so none is merely on its way. Looks through all ids; so it is done before the marks are locked, and what
 * is counted later is unsure from the start.
 */
export async function findUnsure(db: Queryable, { consumer }: Rebuild): Promise<number> {
  return db.execute(sql`
    update metrics.rebuild_ids as r set unsure = true
    where not unsure and ${isRemembered} and not exists (
      select from metrics.event_handled as h
      where h.consumer = ${consumer} and h.event_id = r.event_id and h.slot = metrics.handled_slot(r.event_id))`)
}

/**
 * Makes event_handled fit the rebuilt model, in the transaction of the switch. It then has the id of every event that is
 * counted; it keeps what it had; but of an event that is not counted, since its letter waits, it forgets: else a redrive
 * would take that for a duplicate, and it would never be counted. The discarded stay remembered.
 */
export async function handOverIds(tx: Tx, { consumer, topic }: Rebuild): Promise<void> {
  await tx.execute(sql`
    insert into metrics.event_handled (consumer, event_id, slot, event_type, aggregate_type, aggregate_id)
    select ${consumer}, event_id, metrics.handled_slot(event_id), event_type, ${aggregateType}, aggregate_id
    from metrics.rebuild_ids where unsure and ${isRemembered} order by event_id
    on conflict do nothing`)
  await tx.execute(sql`
    delete from metrics.event_handled as h using metrics.dead_letters as d
    where d.consumer = ${consumer} and d.topic = ${topic} and d.resolved_at is null
      and h.consumer = d.consumer and h.event_id = d.event_id and h.slot = metrics.handled_slot(d.event_id)
      and not exists (select from metrics.rebuild_ids as r where r.event_id = d.event_id)
      and not exists (
        select from metrics.dead_letters as other
        where other.event_id = d.event_id and other.resolution = 'discarded'
          and other.consumer = d.consumer and other.topic = d.topic)`)
}

/** The ring forgets what is older, and it parks as too_old. */
const isRemembered = sql`uuid_extract_timestamp(event_id) >= clock_timestamp() - ${keptDays}::float8 * interval '1 day'`
