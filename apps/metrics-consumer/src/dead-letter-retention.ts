import { type LetterKeeperOptions, keepLetters } from '@likewise/inbox'
import { type KafkaOptions, readTopicEnds } from '@likewise/kafka'

/** Where the inbox meets Kafka: which records it still holds, whose dead letters stay. @returns stop. */
export function keepDeadLetters({
  kafka,
  ...options
}: Omit<LetterKeeperOptions, 'readStarts'> & { kafka: KafkaOptions }): () => Promise<void> {
  return keepLetters({
    ...options,
    readStarts: (stopping) => readTopicEnds(kafka, options.topic, stopping),
  })
}
