import { type Queryable, sql } from '@likewise/database'
import { Failure, type Logger, type Telemetry, backoffMs, pause } from '@likewise/service'
import { type CopyForm, type LetterCopy, copyForms, copyOf } from './copy-record.ts'
import {
  type LetterRow,
  type WholeLetter,
  letterBytes,
  letterColumns,
  letterOf,
  recordColumns,
} from './letter.ts'

export interface CopyOptions {
  readonly db: Queryable
  readonly consumer: string
  readonly topic: string
  /** The partitions this member reads now. */
  readonly partitions: () => readonly number[]
  /**
   * Resolves when the broker has all of them, in order per key. EVENT_REFUSED: it does not take one of them; every other
   * failure is an outage.
   */
  readonly publish: (copies: readonly LetterCopy[]) => Promise<unknown>
  readonly log: Logger
  readonly telemetry: Telemetry
  readonly everyMs?: number
}

// As the relay's pages: what goes out in one send stays below the broker's usual limit of 1 MB.
const page = { rowsMax: 500, bytesMax: 700_000 }
const backoff = { baseMs: 100, capMs: 10_000, random: Math.random }

/**
 * Copies dead letters to the dead-letter topic, in the order in which they were parked, at least once: `copied_at` is
 * written when the broker has them. Each member copies those of the partitions that it reads: so two members never copy
 * the same at the same time, but for a moment after a rebalance, and a key's copies stay in order. An outage delays the
 * copy, for ever if need be, and nothing else.
 *
 * @returns stop, which lets the send under way end.
 */
export function copyDeadLetters(options: CopyOptions): () => Promise<void> {
  const { log, everyMs = 1_000 } = options
  const { copied, failures } = copyTelemetry(options.telemetry)
  const stopping = new AbortController()
  const counted = { ...options, onCopied: (form: string, count: number) => copied.inc({ form }, count) }

  async function run(): Promise<void> {
    for (let attempt = 0; !stopping.signal.aborted;) {
      try {
        const more = await copyPage(counted, stopping.signal)
        if (attempt > 0) log.info({ attempt }, 'dead letters are copied again')
        attempt = 0
        if (!more) await pause(everyMs, stopping.signal)
      } catch (error) {
        attempt += 1
        const outage = error instanceof Failure && error.retryable
        failures.inc({ reason: error instanceof Failure ? error.code : 'bug' })
        // Once, not with every try.
        if (attempt === 1) log[outage ? 'warn' : 'error']({ err: error }, 'dead letters wait to be copied')
        await pause(backoffMs({ attempt, ...backoff }), stopping.signal)
      }
    }
  }

  const running = run()
  return () => {
    stopping.abort()
    return running
  }
}

const copyTelemetry = (telemetry: Telemetry) => ({
  copied: telemetry.counter(
    'likewise_inbox_copied_total',
    'Dead letters copied to the dead-letter topic, by how much of the record went along; refused: not even why.',
    ['form'],
  ),
  failures: telemetry.counter(
    'likewise_inbox_copy_failures_total',
    'Tries to copy dead letters that failed, by the code of the failure.',
    ['reason'],
  ),
})

type Copying = CopyOptions & { readonly onCopied: (form: CopyForm | 'refused', count: number) => void }

/** @returns whether there may be more. */
async function copyPage(copying: Copying, stopping: AbortSignal): Promise<boolean> {
  const letters = await readUncopied(copying)
  await copyAll(copying, letters, stopping)
  return letters.length > 0
}

/** Kafka refuses a send as a whole: it is halved, down to the one record that is too large. */
async function copyAll(
  copying: Copying,
  letters: readonly WholeLetter[],
  stopping: AbortSignal,
): Promise<void> {
  if (letters.length === 0 || stopping.aborted) return
  if (await taken(copying, letters, 'whole')) return
  if (letters.length === 1) {
    for (const form of copyForms.slice(1)) if (await taken(copying, letters, form)) return
    // Not even a few short headers: somebody's rule for the topic. The letter is kept, and blocks no other one's copy.
    copying.log.error(
      { id: String(letters[0]?.id) },
      'dead letter not copied: the broker refuses it in any form',
    )
    copying.onCopied('refused', 1)
    await markCopied(copying.db, letters)
    return
  }
  const half = Math.ceil(letters.length / 2)
  await copyAll(copying, letters.slice(0, half), stopping)
  await copyAll(copying, letters.slice(half), stopping)
}

async function taken(
  { db, consumer, publish, onCopied }: Copying,
  letters: readonly WholeLetter[],
  form: CopyForm,
): Promise<boolean> {
  try {
    await publish(letters.map((letter) => copyOf(letter, consumer, form)))
  } catch (error) {
    if (error instanceof Failure && error.code === 'EVENT_REFUSED') return false
    throw error
  }
  onCopied(form, letters.length)
  await markCopied(db, letters)
  return true
}

/**
 * Rejects as busy while a redrive has some of them in hand, for minutes maybe: they could not be marked, and would be sent
 * again with every try. Passing over them would put copies of a key before earlier ones of it.
 */
async function readUncopied({ db, consumer, topic, partitions }: CopyOptions): Promise<WholeLetter[]> {
  const read = partitions()
  if (read.length === 0) return []
  const rows = await db.query<LetterRow>(sql`
    select ${letterColumns}, ${recordColumns}
    from (
      select *, sum(${letterBytes}) over places as bytes, row_number() over places as place
      from (
        select * from metrics.dead_letters
        where consumer = ${consumer} and copied_at is null and topic = ${topic} and partition = any (${read}::int[])
        order by id limit ${page.rowsMax}::int for key share nowait
      ) as uncopied
      window places as (order by id)
    ) as sized
    where place = 1 or bytes <= ${page.bytesMax}::bigint
    order by id`)
  return rows.map(letterOf)
}

/** Waits for a row that somebody holds only while it holds none itself: with a redrive it could deadlock otherwise. */
async function markCopied(db: Queryable, letters: readonly WholeLetter[]): Promise<void> {
  const ids = letters.map(({ id }) => id)
  const marked = await db.query<{ id: bigint }>(sql`
    update metrics.dead_letters as d set copied_at = now()
    from (
      select id from metrics.dead_letters where id = any (${ids}::bigint[]) for update skip locked
    ) as free
    where d.id = free.id
    returning d.id`)
  const done = new Set(marked.map(({ id }) => id))
  for (const id of ids.filter((one) => !done.has(one)))
    await db.execute(sql`update metrics.dead_letters set copied_at = now() where id = ${id}`)
}
