import { hostname, userInfo } from 'node:os'
import { InvalidArgumentError } from 'commander'

/** Who calls, for an audit table. */
export const me = `${userInfo().username}@${hostname()}`

export function time(text: string): Date {
  const at = new Date(text)
  if (!/^\d{4}-\d{2}-\d{2}/.test(text) || Number.isNaN(at.getTime()))
    throw new InvalidArgumentError('It must be a time such as 2030-01-31T12:00:00Z.')
  return at
}

/** Reads the number that a database gave to something, such as `a snapshot`. */
export const numberOf =
  (what: string) =>
  (text: string): bigint => {
    if (!isNumber(text)) throw new InvalidArgumentError(`It must be the number of ${what}.`)
    return BigInt(text)
  }

export const isNumber = (text: string): boolean => /^[1-9]\d{0,17}$/.test(text)

export function uuid(text: string): string {
  if (!isUuid(text)) throw new InvalidArgumentError('It must be the id of an event, a UUID.')
  return text
}

export const isUuid = (text: string): boolean => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)
