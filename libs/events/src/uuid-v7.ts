/** Version nibble 7 and the RFC 9562 variant; lower case, as decode makes every id. */
export const uuidV7Pattern = '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'

const uuidV7 = new RegExp(uuidV7Pattern, 'i')

/** When the id was made, in ms since 1970 by its maker's clock (RFC 9562 §5.7); null when it is no v7 UUID. */
export function uuidV7TimeMs(id: string): number | null {
  if (!uuidV7.test(id)) return null
  return Number.parseInt(id.slice(0, 8), 16) * 0x10000 + Number.parseInt(id.slice(9, 13), 16)
}
