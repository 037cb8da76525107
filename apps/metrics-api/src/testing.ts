import { type IncomingHttpHeaders, get } from 'node:http'

export interface Received {
  event: string
  id: string | undefined
  data: unknown
}

export interface StreamClient {
  status: number
  headers: IncomingHttpHeaders
  /** The answer as text, for one that is no stream. */
  body: () => string
  /** The next event, in order; waits for it. */
  next: () => Promise<Received>
  /** The next comment line. */
  nextComment: () => Promise<string>
  /** Events that have come and were not asked for. */
  pending: () => number
  /** True if the server ended it in order, false if the connection broke. */
  ended: Promise<boolean>
  close: () => void
}

/** A client of server-sent events. */
export async function connectStream(
  url: string,
  headers: Record<string, string> = {},
): Promise<StreamClient> {
  const [events, comments] = [waitingLine<Received>(), waitingLine<string>()]
  const request = get(url, { headers, agent: false })
  const response = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
    request.on('response', resolve)
    request.on('error', reject)
  })
  let text = ''
  let body = ''
  response.setEncoding('utf8').on('data', (chunk: string) => {
    body += chunk
    const blocks = (text + chunk).split('\n\n')
    text = blocks.pop() ?? ''
    for (const block of blocks) {
      const fields = Object.fromEntries(
        block
          .split('\n')
          .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
      )
      if (block.startsWith(':')) comments.push(block.slice(2))
      else if (fields['data'] !== undefined) {
        events.push({ event: fields['event'] ?? '', id: fields['id'], data: JSON.parse(fields['data']) })
      }
    }
  })
  request.on('error', () => undefined)
  const ended = new Promise<boolean>((resolve) => {
    response.on('end', () => resolve(response.complete))
    response.on('error', () => resolve(false))
    response.on('close', () => resolve(response.complete))
  })
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body: () => body,
    next: events.next,
    nextComment: comments.next,
    pending: events.size,
    ended,
    close: () => request.destroy(),
  }
}

function waitingLine<T>() {
  const items: T[] = []
  const asked: ((item: T) => void)[] = []
  return {
    push: (item: T): void => {
      const first = asked.shift()
      if (first) first(item)
      else items.push(item)
    },
    next: (): Promise<T> => {
      const [first] = items.splice(0, 1)
      return first === undefined ? new Promise((resolve) => asked.push(resolve)) : Promise.resolve(first)
    },
    size: (): number => items.length,
  }
}
