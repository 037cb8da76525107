import type { Socket } from 'node:net'
import { refusalTitles, urn } from './http-problem.ts'
import type { Problem } from './http-problem.ts'

/** What Node refuses before there is a request: bad HTTP, oversized headers, a request that came too slowly. */
export function refuseConnection(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
  const status =
    error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : error.code === 'HPE_HEADER_OVERFLOW' ? 431 : 400
  const title = refusalTitles[status]
  const type = urn(title)
  const body = JSON.stringify({
    type,
    title,
    status,
    detail: 'The request could not be read as HTTP.',
  } satisfies Problem)
  socket.end(
    `HTTP/1.1 ${status} ${title}\r\ncontent-type: application/problem+json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}
