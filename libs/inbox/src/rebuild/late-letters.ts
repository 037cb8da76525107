import { type Tx, sql } from '@likewise/database'
import { countableLetters } from './entry.ts'
import { type Rebuild, type ShadowModel } from './rebuild.ts'
import { countEvents } from './step.ts'
import { readDiscarded, readVerdicts } from './verdicts.ts'

/**
 * Counts the letters that were redriven after the rebuild had passed them, or before it began behind them. What is counted
 * already is known by its id, so this may be done as often as one likes; the last time under the marks' locks, where no
 * redrive can be under way.
 *
 * `resolved_at` is when a redrive's transaction began, and one may take ten minutes; a quarter of an hour is more than that.
 */
export async function countLateLetters(
  tx: Tx,
  { consumer, topic }: Rebuild,
  model: Pick<ShadowModel, 'apply'>,
): Promise<number> {
  let counted = 0
  const late = sql`
    cross join metrics.rebuilds as r
    left join metrics.rebuild_offsets as o on o.partition = d.partition
    where d.consumer = ${consumer} and d.topic = ${topic} and d.resolution = 'redriven'
      and d.resolved_at >= r.letters_since - interval '15 minutes'
      and (d.id = any (r.open_letters) or d.parked_at >= r.letters_since - interval '15 minutes'
        or d.record_offset >= o.base_offset and d.record_offset < o.next_offset)`
  for await (const letters of readVerdicts(tx, late)) {
    const inOrder = letters.toSorted((a, b) => a.partition - b.partition || Number(a.offset - b.offset))
    const discarded = await readDiscarded(tx, { consumer, topic }, letters.flatMap(({ eventId }) => eventId ?? [])) // prettier-ignore
    const fresh = await countEvents(tx, countableLetters(inOrder, discarded), { unsure: true })
    if (fresh.length > 0) await model.apply(tx, fresh)
    counted += fresh.length
  }
  return counted
}
