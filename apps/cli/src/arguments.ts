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

export function uuid(text: string): string {
  if (!isUuid(text)) throw new InvalidArgumentError('It must be the id of an event, a UUID.')
  return text
}

export const isUuid = (text: string): boolean => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)
