import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import type { FailureCode } from '@likewise/service'
import { ifNoneMatch, lastEventId } from './schemas.ts'

export const docs = {
  title: 'Likewise: counts',
  description:
    'The read side: like counts, what trends, histories and live streams. It follows the likes by the time an event ' +
    'travels; `countedThrough` says how far it has got. Whatever goes wrong is a problem (RFC 9457) with a permanent ' +
    '`type`; a 503 always means "again, in a moment", and a 405 has the methods of the path in `Allow`. ' +
    'An unknown query parameter is refused.',
  tags: [{ name: 'counts', description: 'How many like what.' }],
  failures: ['TOO_MANY_REQUESTS', 'OVERLOADED'] satisfies FailureCode[],
  uiFolder: dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json')),
}

const tags = ['counts']

/** What the document says of each route besides its schemas. operationIds are names in clients, so permanent. */
export const operations = {
  metrics: {
    operationId: 'readMetrics',
    summary: 'Like count of a product, now or as of a moment',
    tags,
    requestHeaders: ifNoneMatch,
  },
  many: {
    operationId: 'readManyMetrics',
    summary: 'Like counts of up to 100 products',
    tags,
    requestHeaders: ifNoneMatch,
  },
  history: {
    operationId: 'readHistory',
    summary: 'Likes and unlikes of a product in steps of time',
    tags,
    requestHeaders: ifNoneMatch,
  },
  trending: { operationId: 'readTrending', summary: 'Products that gain most likes', tags },
  stream: {
    operationId: 'streamMetrics',
    summary: 'Like count of a product, live',
    tags,
    requestHeaders: lastEventId,
    failures: ['TOO_MANY_STREAMS'] satisfies FailureCode[],
  },
}
