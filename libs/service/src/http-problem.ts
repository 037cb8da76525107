import { Failure, failures } from './failure.ts'
import type { FailureCode } from './failure.ts'

export type FieldError = { field: string; message: string }

/** RFC 9457. `type` is permanent, clients decide by it; `detail` is for people. */
export type Problem = {
  type: string
  title: string
  status: number
  detail: string
  instance?: string
  errors?: FieldError[]
}

/** What ajv says about one place; only what is used here. */
type AjvError = { keyword: string; instancePath: string; params: Record<string, unknown>; message?: string }
type RefusedRequest = Error & {
  code?: string
  statusCode?: number
  validation?: AjvError[]
  validationContext?: string
}

/** Fastify's own refusals, in our words. Anything else of Fastify's with a 4xx keeps its status, the rest is a 500. */
const refusals: Record<string, { code: FailureCode; detail: string }> = {
  FST_ERR_BAD_URL: { code: 'PARAMS_INVALID', detail: 'The path is not valid percent-encoding.' },
  FST_ERR_MAX_PARAM_LENGTH: { code: 'PARAMS_INVALID', detail: 'A part of the path is too long.' },
  FST_ERR_CTP_EMPTY_JSON_BODY: { code: 'BODY_INVALID', detail: 'The body is empty; send a JSON object.' },
  FST_ERR_CTP_INVALID_JSON_BODY: { code: 'BODY_INVALID', detail: 'The body is not valid JSON.' },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: {
    code: 'BODY_INVALID',
    detail: 'The body is not as long as Content-Length says.',
  },
  FST_ERR_CTP_BODY_TOO_LARGE: {
    code: 'BODY_TOO_LARGE',
    detail: 'The body is larger than this service takes.',
  },
  FST_ERR_CTP_INVALID_MEDIA_TYPE: {
    code: 'MEDIA_TYPE_UNSUPPORTED',
    detail: 'Send the body as application/json.',
  },
}

function problemOf(code: FailureCode, detail: string, errors?: FieldError[]): Problem {
  const { title, httpStatus } = failures[code]
  return { type: urn(code), title, status: httpStatus, detail, ...(errors ? { errors } : {}) }
}

/** `NOT_FOUND` and `Not Found` alike. */
export function urn(name: string): string {
  return `urn:likewise:problem:${name.toLowerCase().replaceAll(/[_ ]/g, '-')}`
}

/** Every type that an answer may have; docs/problems.md has a page for each. */
export function problemTypes(): string[] {
  const told = Object.entries(failures).filter(
    ([, { httpStatus, retryable }]) => httpStatus < 500 || retryable,
  )
  return [
    ...told.map(([code]) => urn(code)),
    internalProblem.type,
    timedOut.type,
    urn('REQUEST_REFUSED'),
    ...Object.values(refusalTitles).map(urn),
  ]
}

/** Of what Node refuses before there is a request (http-refusal.ts). */
export const refusalTitles = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
} as const

const internalProblem: Problem = {
  type: urn('INTERNAL_ERROR'),
  title: 'Internal error',
  status: 500,
  detail: 'Something went wrong here; the log says what.',
}

const timedOut: Problem = {
  type: urn('TIMED_OUT'),
  title: 'Timed out',
  status: 503,
  detail: 'No answer in time; whether it took effect is not known. Try again.',
}

/**
 * Turns whatever was thrown into what the client may know. The text of a 5xx never leaves the process: it may hold SQL
 * or addresses; a retryable one says by its type what is out of order, and a 503 always means "try again".
 */
export function toProblem(thrown: unknown): Problem {
  if (thrown instanceof Failure) {
    if (thrown.httpStatus < 500)
      return problemOf(thrown.code, thrown.message, fieldErrors(thrown.details?.errors))
    if (thrown.retryable) return problemOf(thrown.code, 'Try again in a moment.')
    return internalProblem
  }
  if (!(thrown instanceof Error)) return internalProblem
  const error = thrown as RefusedRequest
  if (error.validation) return invalid(error.validation, error.validationContext ?? 'body')
  const refusal = error.code === undefined ? undefined : refusals[error.code]
  if (refusal) return problemOf(refusal.code, refusal.detail)
  if (error.code === 'FST_ERR_HANDLER_TIMEOUT') return timedOut
  const status = error.statusCode ?? 500
  if (error.code?.startsWith('FST_') && status >= 400 && status < 500) {
    return { type: urn('REQUEST_REFUSED'), title: 'Request refused', status, detail: error.message }
  }
  return internalProblem
}

function fieldErrors(value: unknown): FieldError[] | undefined {
  return Array.isArray(value) ? (value as FieldError[]) : undefined
}

function invalid(found: AjvError[], context: string): Problem {
  const errors = toFieldErrors(found, context)
  const detail = errors.map(({ field, message }) => `${field} ${message}.`).join(' ')
  return problemOf(context === 'body' ? 'BODY_INVALID' : 'PARAMS_INVALID', detail, errors)
}

/** One entry per field: a failed anyOf comes from ajv as one error per branch and one for itself. */
function toFieldErrors(found: AjvError[], context: string): FieldError[] {
  const byField = new Map<string, string>()
  for (const error of found) byField.set(fieldOf(error, context), messageOf(error, found))
  return [...byField].map(([field, message]) => ({ field, message }))
}

/** Dotted (`items.0.productId`); a missing or unknown field is named itself, the whole part is `body` or `params`. */
function fieldOf({ instancePath, keyword, params }: AjvError, context: string): string {
  const path = instancePath.split('/').slice(1)
  if (keyword === 'required') path.push(String(params.missingProperty))
  if (keyword === 'additionalProperties') path.push(String(params.additionalProperty))
  return path.length === 0
    ? context
    : path.map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~')).join('.')
}

function messageOf(error: AjvError, all: AjvError[]): string {
  switch (error.keyword) {
    case 'required':
      return 'is required'
    case 'additionalProperties':
      return 'is not known here'
    case 'enum':
      return `must be one of ${(error.params.allowedValues as unknown[]).join(', ')}`
    case 'anyOf': {
      const values = all
        .filter((other) => other.keyword === 'const')
        .map((other) => other.params.allowedValue)
      return values.length > 0 ? `must be one of ${values.join(', ')}` : 'matches none of the allowed shapes'
    }
    default:
      return error.message ?? 'is not valid'
  }
}
