/**
 * The messages inside a replication stream's CopyData, see "Streaming Replication Protocol" in PostgreSQL's manual.
 * All numbers are big-endian; positions are 64 bits.
 */
const [xLogData, keepalive, status] = [0x77, 0x6b, 0x72] // w, k, r
const xLogDataHead = 25

export type Frame =
  { kind: 'data'; payload: Buffer } | { kind: 'keepalive'; walEnd: bigint; replyWanted: boolean }

export function readFrame(chunk: Buffer): Frame {
  if (chunk[0] === xLogData) return { kind: 'data', payload: chunk.subarray(xLogDataHead) }
  if (chunk[0] !== keepalive)
    throw new Error(`Unknown message in the replication stream: ${String(chunk[0])}.`)
  return { kind: 'keepalive', walEnd: chunk.readBigUInt64BE(1), replyWanted: chunk[17] === 1 }
}

/** PostgreSQL counts microseconds from the year 2000. */
const epochMs = Date.UTC(2000, 0, 1)

/** "Standby status update": positions received and confirmed (flushed, applied), with an answer wanted. */
export function statusFrame(position: { received: bigint; confirmed: bigint }, nowMs: number): Buffer {
  const frame = Buffer.alloc(34)
  frame[0] = status
  frame.writeBigUInt64BE(position.received, 1)
  frame.writeBigUInt64BE(position.confirmed, 9)
  frame.writeBigUInt64BE(position.confirmed, 17)
  frame.writeBigInt64BE(BigInt(nowMs - epochMs) * 1000n, 25)
  frame[33] = 1
  return frame
}
