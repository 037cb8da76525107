import type { FastifyInstance, FastifyRequest } from 'fastify'

type Kind = 'integer' | 'number' | 'boolean' | 'integers'
const kinds: readonly unknown[] = ['integer', 'number', 'boolean']

/**
 * Path and query hold text only, bodies hold types. ajv's coercion is one switch for both, and takes `1e3`, `0x10` and
 * ` 7` for integers; so it is off, and path and query values are read strictly here, for routes whose schema wants it.
 * What is not exactly an integer, a number or a boolean stays text, and ajv refuses it by name. A list of integers is
 * separated by commas.
 */
export function readTypedParams(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    const params = typedFields(route.schema?.params)
    const query = typedFields(route.schema?.querystring)
    if (params.length + query.length === 0) return
    const read = async (request: FastifyRequest) => {
      convert(request.params as Record<string, unknown>, params)
      convert(request.query as Record<string, unknown>, query)
    }
    route.preValidation = [read, ...[route.preValidation ?? []].flat()]
  })
}

type Field = { type?: unknown; items?: { type?: unknown } }

function typedFields(schema: unknown): [string, Kind][] {
  const properties = (schema as { properties?: Record<string, Field> } | undefined)?.properties ?? {}
  return Object.entries(properties).flatMap(([field, { type, items }]): [string, Kind][] => {
    if (type === 'array' && items?.type === 'integer') return [[field, 'integers']]
    return kinds.includes(type) ? [[field, type as Kind]] : []
  })
}

function convert(values: Record<string, unknown>, fields: [string, Kind][]): void {
  for (const [field, kind] of fields) {
    const text = values[field]
    if (typeof text === 'string') values[field] = typed(text, kind)
  }
}

function typed(text: string, kind: Kind): unknown {
  if (kind === 'integers') return text.split(',').map((one) => typed(one, 'integer'))
  if (kind === 'boolean') return text === 'true' ? true : text === 'false' ? false : text
  const shape = kind === 'integer' ? /^-?(?:0|[1-9]\d*)$/ : /^-?(?:0|[1-9]\d*)(?:\.\d+)?$/
  if (!shape.test(text)) return text
  // Beyond 2^53−1 two different ids become one number.
  return kind === 'integer' && !Number.isSafeInteger(Number(text)) ? text : Number(text)
}
