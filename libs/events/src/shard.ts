/**
 * Slices of the outbox. It never changes: the shard is stored with the row, and a row whose shard is
 * computed anew with another number would be looked for where it is not.
 */
export const shardCount = 12

const seed = 0x9747b28c
const mix = 0x5bd1e995

/**
 * Kafka's own hash of a key (org.apache.kafka.common.utils.Utils.murmur2), a signed 32-bit integer.
 * Text is hashed as UTF-8. Every producer of the topic must agree on it, or one key has two partitions.
 */
export function murmur2(key: string | Uint8Array): number {
  const bytes = typeof key === 'string' ? Buffer.from(key, 'utf8') : key
  const wholeWords = bytes.length & ~3
  let hash = seed ^ bytes.length
  for (let at = 0; at < wholeWords; at += 4) {
    const word = Math.imul(
      byteAt(bytes, at) |
        (byteAt(bytes, at + 1) << 8) |
        (byteAt(bytes, at + 2) << 16) |
        (byteAt(bytes, at + 3) << 24),
      mix,
    )
    hash = Math.imul(hash, mix) ^ Math.imul(word ^ (word >>> 24), mix)
  }
  const left = bytes.length - wholeWords
  if (left > 2) hash ^= byteAt(bytes, wholeWords + 2) << 16
  if (left > 1) hash ^= byteAt(bytes, wholeWords + 1) << 8
  if (left > 0) hash = Math.imul(hash ^ byteAt(bytes, wholeWords), mix)
  hash = Math.imul(hash ^ (hash >>> 13), mix)
  return hash ^ (hash >>> 15)
}

/** The slice of the outbox a partition key lives in, 0 to shards − 1; with partitions for shards, Kafka's partition. */
export function shardOf(key: string, shards = shardCount): number {
  return (murmur2(key) & 0x7fffffff) % shards
}

function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0
}
