import { createHash } from 'node:crypto'

/** What is needed of a request and its answer; Fastify's have more, and other types for each route. */
interface Asked {
  readonly headers: { readonly 'if-none-match'?: string | undefined }
}
interface Answering {
  header: (name: string, value: string) => unknown
  code: (status: number) => { send: () => unknown }
}

/**
 * An answer that a client or a proxy may keep and must ask about again: sets ETag and Cache-Control, and sends 304
 * where the client has it. The tag is weak and made of `essence`, so that what differs each time need not be in it.
 *
 * @returns what the handler is to return.
 */
export function revalidated<Body>(
  request: Asked,
  reply: Answering,
  { body, essence }: { body: Body; essence: unknown },
): Body | undefined {
  const tag = createHash('sha1').update(JSON.stringify(essence)).digest('base64url')
  reply.header('etag', `W/"${tag}"`)
  reply.header('cache-control', 'no-cache')
  if (!names(request.headers['if-none-match'], tag)) return body
  return reply.code(304).send() as undefined
}

/** Compared weakly, as If-None-Match asks for (RFC 9110 §13.1.2). */
function names(header: string | undefined, tag: string): boolean {
  const tags = header?.split(',').map((one) => one.trim().replace(/^W\//, '')) ?? []
  return tags.some((one) => one === '*' || one === `"${tag}"`)
}
