/** What a link does to its connections, by the names of Toxiproxy. */
export type Toxic =
  /** Each chunk takes so long, in each direction, give or take the jitter. */
  | { readonly kind: 'latency'; readonly ms: number; readonly jitterMs: number }
  | { readonly kind: 'bandwidth'; readonly bytesPerSecond: number }
  /** Chunks come in slices, with a pause after each. */
  | { readonly kind: 'slicer'; readonly bytes: number; readonly pauseMs: number }
  /** Nothing goes through any more; after so long the connection is closed. */
  | { readonly kind: 'timeout'; readonly ms: number }
  /** After so long the connection is reset. */
  | { readonly kind: 'reset_peer'; readonly ms: number }
  /** The connection is closed when so much has gone through. */
  | { readonly kind: 'limit_data'; readonly bytes: number }
  /** Connections are reset, and so is who comes anew. */
  | { readonly kind: 'down' }

/** How long a chunk is kept before it goes on. `random` is in [0, 1). */
export function delayOf(toxic: Toxic | null, bytes: number, random: number): number {
  if (toxic?.kind === 'latency') return Math.max(0, toxic.ms + (2 * random - 1) * toxic.jitterMs)
  if (toxic?.kind === 'bandwidth') return (bytes / toxic.bytesPerSecond) * 1_000
  return 0
}

/** The parts in which a chunk goes on. */
export function slicesOf(toxic: Toxic | null, bytes: Buffer): Buffer[] {
  if (toxic?.kind !== 'slicer') return [bytes]
  const slices: Buffer[] = []
  for (let at = 0; at < bytes.length; at += toxic.bytes) slices.push(bytes.subarray(at, at + toxic.bytes))
  return slices
}

/** When a connection is ended, and how; null: never. */
export function endingOf(toxic: Toxic | null): { afterMs: number; by: 'reset' | 'close' } | null {
  if (toxic?.kind === 'down') return { afterMs: 0, by: 'reset' }
  if (toxic?.kind === 'reset_peer') return { afterMs: toxic.ms, by: 'reset' }
  if (toxic?.kind === 'timeout') return { afterMs: toxic.ms, by: 'close' }
  return null
}
