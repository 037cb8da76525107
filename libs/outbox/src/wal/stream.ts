import { connectReplication } from '@likewise/database'
import { outboxDecoder } from './decode.ts'
import { type WalBatch, walQueue } from './queue.ts'

export interface WalStreamOptions {
  url: string
  slot: string
  publication: string
  applicationName: string
  connectTimeoutMs: number
  /** The server frees the slot of a reader that is silent for so long. */
  senderTimeoutMs: number
  /** Events that wait here, about; beyond it the socket is not read until half of it is free again. */
  waitingBytesMax: number
}

export interface WalStream {
  /**
   * The next events in commit order, as soon as there is one; also a batch without events when only the position has
   * moved. Waits for ever on an idle database.
   *
   * @returns null when `signal` aborts; rejects with what ended the stream, once the batches before have been read.
   */
  read(limits: { rowsMax: number; bytesMax: number }, signal: AbortSignal): Promise<WalBatch | null>
  /** Give only the `lsn` of a batch whose events, and those of all before it, are acknowledged. */
  confirm(lsn: bigint): void
  /** Aborted when the stream has ended, with the failure as its reason; not by `stop`. */
  readonly broken: AbortSignal
  /** Rows and bytes that wait to be read. */
  waiting(): { rows: number; bytes: number }
  stop(): Promise<void>
}

/** What an event costs beside its message: objects here, and CloudEvents headers on the way to the broker. */
const eventBytes = 300

/**
 * Reads the outbox from the WAL, through a logical replication slot: inserts only, in commit order, each with all its
 * values. Nothing is read from the table, where a row may become visible later than its commit stands in the WAL.
 *
 * The slot is one reader's at a time: opening fails with a Failure whose sqlstate is 55006 while somebody else has it.
 * A reader that dies has its unconfirmed events sent again to the next: overlap, never loss.
 *
 * **Heartbeat.** An outbox that is idle beside other, busy tables must not keep their WAL. The server decodes that WAL
 * and passes it over; how far it has got it says when asked (the connection asks every second), and when no event is
 * outstanding here this position can be confirmed. Nothing is written for it: a row or message of our own
 * (pg_logical_emit_message) would only make WAL in order to read it, and need a second connection that may fail alone.
 * Inside a transaction such positions are not taken, so that no row still to come hangs on what the server means by them.
 */
export async function openWal(options: WalStreamOptions): Promise<WalStream> {
  const replication = await connectReplication(options)
  const [queue, decoder] = [walQueue(), outboxDecoder()]
  let paused = false
  const broken = new AbortController()
  let failure: Error | undefined
  let wake: () => void = () => undefined

  function push(payload: Buffer): void {
    const decoded = decoder.decode(payload)
    if (decoded === null) return
    if (decoded.kind === 'event') queue.push(decoded.event, payload.length + eventBytes)
    else queue.reach(decoded.endLsn)
    if (!paused && queue.bytes() > options.waitingBytesMax) {
      paused = true
      replication.pause()
    }
    wake()
  }

  try {
    await replication.start(options, {
      data: push,
      keepalive(walEnd) {
        if (decoder.inTransaction()) return
        queue.reach(walEnd)
        wake()
      },
      ended(error) {
        failure = error
        broken.abort(error)
        wake()
      },
    })
  } catch (error) {
    await replication.stop()
    throw error
  }

  return {
    async read(limits, signal) {
      const woken = (): void => {
        wake()
      }
      signal.addEventListener('abort', woken)
      try {
        while (!signal.aborted && !queue.hasNews()) {
          if (failure) throw failure
          await new Promise<void>((resolve) => (wake = resolve))
        }
      } finally {
        signal.removeEventListener('abort', woken)
      }
      if (signal.aborted) return null
      const batch = queue.take(limits)
      if (paused && queue.bytes() < options.waitingBytesMax / 2) {
        paused = false
        replication.resume()
      }
      return batch
    },
    confirm: (lsn) => {
      replication.confirm(lsn)
    },
    broken: broken.signal,
    waiting: () => ({ rows: queue.rows(), bytes: queue.bytes() }),
    async stop() {
      await replication.stop()
      failure ??= new Error('The stream was stopped.')
      wake()
    },
  }
}
