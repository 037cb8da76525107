/**
 * What is wrong with a JSON text that parsed well, as a sentence, else undefined: what I-JSON forbids (RFC 7493) because
 * two readers take it for two things. A name that comes twice (whoever checked the first one in front of us checked nothing),
 * a number that becomes another one when it is read (9007199254740991.4 is …991), a NUL, half a character.
 */
export function faultOfJson(text: string, value: unknown): string | undefined {
  const { members, lossy } = scan(text)
  if (lossy !== undefined) return `The number ${lossy} cannot be read exactly.`
  const found = inspect(value, text.includes('\\u'))
  if (found.members !== members) return 'A name comes twice in an object.'
  return found.hasBrokenText
    ? 'A text holds NUL or half of a character (\\u0000, \\ud800 to \\udfff).'
    : undefined
}

/**
 * Members of all objects as written, and the first number that is not what it will be read as. Only for valid JSON.
 * By character codes, and without a copy of each number: it is done for each like.
 */
function scan(text: string): { members: number; lossy?: string } {
  let members = 0
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === quote) at = endOfString(text, at)
    else if (code === colon) members += 1
    else if (code === minus || isDigit(code)) {
      let end = at + 1
      while (isDigit(text.charCodeAt(end))) end += 1
      if (!isOfNumber(text.charCodeAt(end))) {
        at = end - 1
        continue
      }
      while (isOfNumber(text.charCodeAt(end))) end += 1
      const number = text.slice(at, end)
      if (isLossy(number)) return { members, lossy: number.slice(0, 40) }
      at = end - 1
    }
  }
  return { members }
}

const [quote, backslash, colon, minus] = [0x22, 0x5c, 0x3a, 0x2d]
const inNumber = new Set(Array.from('0123456789.eE+-', (char) => char.charCodeAt(0)))

const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39
const isOfNumber = (code: number): boolean => inNumber.has(code)

function endOfString(text: string, start: number): number {
  let at = start + 1
  while (at < text.length && text.charCodeAt(at) !== quote) at += text.charCodeAt(at) === backslash ? 2 : 1
  return at
}

/** Reads as an integer, and has digits behind the point that are none. */
function isLossy(number: string): boolean {
  if (!Number.isInteger(Number(number))) return false
  const [mantissa = '', exponent = '0'] = number.replace(/^-/, '').split(/[eE]/)
  const [whole = '', fraction = ''] = mantissa.split('.')
  const digits = (whole + fraction).replace(/0+$/, '')
  const dropped = whole.length + fraction.length - digits.length
  return digits !== '' && Number(exponent) - fraction.length + dropped < 0
}

/** Without recursion: 16 KB are enough for 16,000 arrays in each other. */
function inspect(root: unknown, mayBeBroken: boolean): { members: number; hasBrokenText: boolean } {
  const found = { members: 0, hasBrokenText: false }
  const waiting: unknown[] = [root]
  for (let value = waiting.pop(); value !== undefined; value = waiting.pop()) {
    if (typeof value === 'string') found.hasBrokenText ||= mayBeBroken && isBroken(value)
    else if (Array.isArray(value)) for (const item of value) waiting.push(item)
    else if (typeof value === 'object' && value !== null) {
      for (const [name, member] of Object.entries(value)) {
        found.members += 1
        found.hasBrokenText ||= mayBeBroken && isBroken(name)
        waiting.push(member)
      }
    }
  }
  return found
}

function isBroken(text: string): boolean {
  return text.includes('\0') || /\p{Surrogate}/u.test(text)
}
