/** A list: the record has the header so often. kafkajs cannot send one without a value. */
export type OutgoingHeader = string | Buffer | (string | Buffer)[]

export interface OutgoingRecord {
  topic: string
  key: string | null
  value: string | Buffer | null
  headers: Record<string, OutgoingHeader>
}

/** The records of one topic, in the order in which they are to be stored. */
export interface TopicBatch {
  readonly topic: string
  readonly records: readonly OutgoingRecord[]
}

/** Where a partition has stored its part of a send: `baseOffset` is that of the first record, the others follow it. */
export interface Position {
  readonly topic: string
  readonly partition: number
  readonly baseOffset: bigint
}

/**
 * What a publisher needs of a Kafka client. It never retries by itself, makes no topics, and rejects with the client's
 * own error. A key lies in partition (murmur2(key) & 0x7fffffff) % partitions, as with Java's producer.
 */
export interface Connection {
  /**
   * With acks=all, in order per key; resolves when all of it is stored. After a rejection nothing of it is on its way with
   * platformatic. With kafkajs the parts for other brokers may be, until `close`, and arrive before or after what is sent
   * next: as that is the same sequence, first copies of a key stay in order.
   */
  send(batches: readonly TopicBatch[]): Promise<readonly Position[]>
  /** Ends what is on its way. */
  close(): Promise<void>
}
