import { isUtf8 } from 'node:buffer'
import type { FastifyInstance } from 'fastify'
import { Failure } from './failure.ts'
import { faultOfJson } from './strict-json.ts'

/** Bodies are JSON in UTF-8 that every reader takes for the same; what is not is refused, never mended. */
export function readStrictBodies(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.removeContentTypeParser(['application/json', 'text/plain'])
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    if (!isUtf8(body)) {
      done(new Failure('BODY_INVALID', 'The body is not UTF-8.'))
      return
    }
    const text = body.toString('utf8')
    void parse(request, text, (error, value: unknown) => {
      if (error) {
        done(error)
        return
      }
      const fault = faultOfJson(text, value)
      if (fault === undefined) done(null, value)
      else done(new Failure('BODY_INVALID', `The body is not acceptable JSON. ${fault}`))
    })
  })
}
