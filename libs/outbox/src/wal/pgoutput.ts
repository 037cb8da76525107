/**
 * Decodes the messages of PostgreSQL's output plugin pgoutput, protocol version 1, text format: "Logical Replication
 * Message Formats" in its manual. Only what a publication of inserts sends; the rest is passed over.
 */
export interface Relation {
  readonly id: number
  /** `schema.table` */
  readonly name: string
  readonly columns: readonly string[]
}

export type PgoutputMessage =
  | { kind: 'begin' }
  /** `endLsn`: the position behind the transaction; confirming it says that all of it has been dealt with. */
  | { kind: 'commit'; endLsn: bigint }
  | { kind: 'relation'; relation: Relation }
  /** The values are read by `readTuple`, once it is known which columns are wanted. */
  | { kind: 'insert'; relationId: number }
  | { kind: 'other' }

const [begin, commit, relation, insert] = [0x42, 0x43, 0x52, 0x49] // B, C, R, I
const begun: PgoutputMessage = { kind: 'begin' }
const other: PgoutputMessage = { kind: 'other' }

export function readMessage(message: Buffer): PgoutputMessage {
  switch (message[0]) {
    case insert:
      return { kind: 'insert', relationId: message.readUInt32BE(1) }
    case begin:
      return begun
    case commit:
      return { kind: 'commit', endLsn: message.readBigUInt64BE(10) } // behind flags and the commit's own position
    case relation:
      return { kind: 'relation', relation: readRelation(message) }
    default:
      return other
  }
}

function readRelation(message: Buffer): Relation {
  let at = 5
  const text = (): string => {
    const end = message.indexOf(0, at)
    const found = message.toString('utf8', at, end)
    at = end + 1
    return found
  }
  const name = `${text()}.${text()}`
  at += 1 // replica identity
  const count = message.readUInt16BE(at)
  at += 2
  const columns = Array.from({ length: count }, () => {
    at += 1 // flags
    const column = text()
    at += 8 // type and its modifier
    return column
  })
  return { id: message.readUInt32BE(1), name, columns }
}

const [nullValue, textValue] = [0x6e, 0x74] // n, t
const tupleStart = 6 // kind, relation, 'N'

/**
 * The values of an insert: the column at position i goes to `places[i]` of `values`, or nowhere when that is −1. An
 * insert has every value whole, however large: "unchanged TOAST" only stands in updates.
 */
export function readTuple(message: Buffer, places: readonly number[], values: (string | null)[]): void {
  const count = message.readUInt16BE(tupleStart)
  let at = tupleStart + 2
  for (let column = 0; column < count; column += 1) {
    const kind = message[at]
    const place = places[column] ?? -1
    at += 1
    if (kind === nullValue) {
      if (place >= 0) values[place] = null
      continue
    }
    if (kind !== textValue) throw new Error(`Unknown kind of value in a pgoutput insert: ${String(kind)}.`)
    const start = at + 4
    at = start + message.readUInt32BE(at)
    if (place >= 0) values[place] = message.toString('utf8', start, at)
  }
}
