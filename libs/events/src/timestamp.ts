const year = '(?!0000)\\d{4}'
const leapYear = '(?!0000)(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)'

const date = [
  `${year}-(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])`,
  `${year}-(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)`,
  `${year}-02-(?:0[1-9]|1\\d|2[0-8])`,
  `${leapYear}-02-29`,
].join('|')
const time = '(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?'
const offset = 'Z|[+-](?:0\\d|1[0-5]):[0-5]\\d'

/**
 * RFC 3339 date-time, less what the places it goes to cannot hold: no leap second (JavaScript), no year 0 and no
 * offset of 16 hours or more (PostgreSQL).
 * One pattern instead of the format date-time: 50 ns instead of 390 per check, and it travels whole in the schema.
 */
export const timestampPattern = `^(?:${date})T${time}(?:${offset})$`
