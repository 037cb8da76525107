import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import type { FailureCode } from '@likewise/service'
import { Type } from 'typebox'

const requestHeaders = {
  traceparent: Type.Optional(
    Type.String({
      description:
        "W3C Trace Context: the caller's trace, which goes on with the event. Left out where it is none.",
      examples: ['00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'],
    }),
  ),
}

export const docs = {
  title: 'Likewise: likes',
  description:
    'The write side: a like and its event are committed together, and the answer is sent after the commit. ' +
    'Every request may be repeated: a like that is there is not counted twice. Counts are read from metrics-api. ' +
    'Whatever goes wrong is a problem (RFC 9457) with a permanent `type`; a 503 always means "again, in a moment", ' +
    'and a 405 has the methods of the path in `Allow`.',
  tags: [{ name: 'likes', description: 'Who likes what.' }],
  takesTokens: true,
  failures: [
    'UNAUTHENTICATED',
    'FORBIDDEN',
    'IDENTITY_UNAVAILABLE',
    'TOO_MANY_REQUESTS',
    'OVERLOADED',
  ] satisfies FailureCode[],
  uiFolder: dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json')),
}

const write = { tags: ['likes'], requestHeaders }

/** What the document says of each route besides its schemas. operationIds are names in clients, so permanent. */
export const operations = {
  addLike: {
    ...write,
    operationId: 'addLike',
    summary: 'Like a product',
    failures: ['IDEMPOTENCY_KEY_IN_FLIGHT', 'IDEMPOTENCY_KEY_REUSED'] satisfies FailureCode[],
  },
  addLikes: {
    ...write,
    operationId: 'addLikes',
    summary: 'Up to 500 likes, each answered for by itself',
    description:
      'The body may have 64 KB. A 503 means that nothing was done, or that it is not known of any.',
  },
  putLike: { ...write, operationId: 'putLike', summary: 'Like a product, named by the path' },
  removeLike: { ...write, operationId: 'removeLike', summary: 'Take a like back' },
  readLike: {
    operationId: 'readLike',
    summary: 'Whether a user likes a product, from the write side: read your own write',
    tags: ['likes'],
  },
}
