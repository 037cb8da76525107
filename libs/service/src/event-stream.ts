import type { IncomingMessage, ServerResponse } from 'node:http'

/** One event of a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
export interface StreamEvent {
  readonly event: string
  /** What a client that comes back sends as Last-Event-ID. */
  readonly id?: string
  readonly data: unknown
}

export interface EventStream {
  /** Writes the event, or keeps it in place of the one that still waits: a slow client gets the latest, never a queue. */
  send: (event: StreamEvent) => void
  /** Ends it in order; a client that does not read is cut off. */
  end: () => void
}

export interface EventStreamOptions {
  /** A comment after so long, whatever else is sent: proxies and clients tell a quiet stream from a dead one by it. */
  heartbeatMs: number
  /** A client that has taken nothing for so long is cut off. */
  stuckMsMax: number
  /** How long a client should wait before it comes back. */
  retryMs: number
  /** Once, whoever ended it. */
  onClose: (reason: 'closed' | 'stuck') => void
}

const headers = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store',
  // Nothing follows on this connection, so a server that stops need not wait for it.
  connection: 'close',
  // nginx would collect the answer before it hands it on.
  'x-accel-buffering': 'no',
}

// For the last bytes of an orderly end.
const endLimitMs = 1_000

/**
 * Turns the answer into a stream of server-sent events. What is kept for a client is one event and what Node holds below
 * its high-water mark (16 KB).
 */
export function openEventStream(
  request: { raw: IncomingMessage },
  reply: {
    hijack: () => unknown
    raw: ServerResponse
    getHeaders: () => object
  },
  { heartbeatMs, stuckMsMax, retryMs, onClose }: EventStreamOptions,
): EventStream {
  reply.hijack()
  const response = reply.raw
  let waiting: StreamEvent | undefined
  let stuckSinceMs: number | undefined
  let reason: 'closed' | 'stuck' = 'closed'

  const write = (text: string): void => {
    if (response.write(text)) return
    stuckSinceMs ??= performance.now()
  }
  const beat = (): void => {
    if (stuckSinceMs === undefined) write(': heartbeat\n\n')
    else if (performance.now() - stuckSinceMs > stuckMsMax) {
      reason = 'stuck'
      response.destroy()
    }
  }
  // The server's limit of silence is for those that stop reading their answer; here that is stuckMsMax.
  request.raw.socket.setTimeout(0)
  const heartbeat = setInterval(beat, Math.min(heartbeatMs, stuckMsMax))
  response.on('drain', () => {
    stuckSinceMs = undefined
    const event = waiting
    waiting = undefined
    if (event) write(textOf(event))
  })
  response.on('error', () => undefined) // 'close' follows
  let isClosed = false
  const close = (): void => {
    if (isClosed) return
    isClosed = true
    clearInterval(heartbeat)
    waiting = undefined
    onClose(reason)
  }
  response.on('close', close)
  // Those of the reply too: CORS and the like are set on it before.
  for (const [name, value] of Object.entries<string>({ ...reply.getHeaders(), ...headers }))
    response.setHeader(name, value)
  write(`retry: ${String(retryMs)}\n\n`)
  // Gone before we began: 'close' may have been told already.
  if (request.raw.socket.destroyed) setImmediate(close)

  return {
    send: (event) => {
      if (stuckSinceMs === undefined) write(textOf(event))
      else waiting = event
    },
    end: () => {
      response.end()
      setTimeout(() => response.destroy(), endLimitMs).unref()
    },
  }
}

/** JSON text has no line ends, so each event is one line of data. */
function textOf({ event, id, data }: StreamEvent): string {
  return `event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`
}
