import { type Tx, sql } from '@likewise/database'
import { type LetterRow, letterBytes, letterColumns, letterOf, recordColumns } from '../letter.ts'
import { countableLetters } from './entry.ts'
import { type Rebuild, type ShadowModel } from './rebuild.ts'
import { countEvents, readDiscarded } from './step.ts'

/** Letters in memory at a time; one that is larger comes alone. */
const page = { rowsMax: 500, bytesMax: 4_000_000 }

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
  for (let last = 0n; ;) {
    const rows = await tx.query<LetterRow>(sql`
      select ${letterColumns}, ${recordColumns}
      from (
        select *, sum(${letterBytes}) over places as bytes, row_number() over places as place
        from (
          select d.* from metrics.dead_letters as d
          cross join metrics.rebuilds as r
          left join metrics.rebuild_offsets as o on o.partition = d.partition
          where d.consumer = ${consumer} and d.topic = ${topic} and d.id > ${last} and d.resolution = 'redriven'
            and d.resolved_at >= r.letters_since - interval '15 minutes'
            and (d.id = any (r.open_letters) or d.parked_at >= r.letters_since - interval '15 minutes'
              or d.record_offset >= o.base_offset and d.record_offset < o.next_offset)
          order by d.id limit ${page.rowsMax}::int
        ) as late
        window places as (order by id)
      ) as sized
      where place = 1 or bytes <= ${page.bytesMax}::bigint
      order by id`)
    const letters = rows.map(letterOf)
    const [first, end] = [letters[0], letters.at(-1)]
    if (!first || !end) return counted
    last = end.id
    const inOrder = letters.toSorted((a, b) => a.partition - b.partition || Number(a.offset - b.offset))
    const discarded = await readDiscarded(tx, { consumer, topic }, letters.flatMap(({ eventId }) => eventId ?? [])) // prettier-ignore
    const fresh = await countEvents(tx, countableLetters(inOrder, discarded), { unsure: true })
    if (fresh.length > 0) await model.apply(tx, fresh)
    counted += fresh.length
  }
}
