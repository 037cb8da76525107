import { Type } from 'typebox'

const text = (description: string) => Type.String({ description })
const number = (description: string) => Type.String({ description, pattern: '^-?[0-9]+$' })

/** What the copy of a dead letter has besides the headers of its record. Names are permanent; a header is text. */
export const DeadLetterHeaders = Type.Object({
  likewise_dlq_id: number(
    'Number of the dead letter, for likewise dead-letters show. Repeats have the same.',
  ),
  likewise_dlq_reason: text('Why it was parked: docs/dead-letters.md lists the words.'),
  likewise_dlq_detail: text('The same as a sentence.'),
  likewise_dlq_attempts: number('Tries until it was parked.'),
  likewise_dlq_consumer: text('Whose dead letter it is.'),
  likewise_dlq_topic: text('Where the record lies.'),
  likewise_dlq_partition: number('Where the record lies.'),
  likewise_dlq_offset: number('Where the record lies; below 0: in a log that is no more.'),
  likewise_dlq_parked_at: Type.String({ format: 'date-time', description: 'When it was parked.' }),
  likewise_dlq_timestamp: Type.Optional(
    Type.String({ format: 'date-time', description: "The record's own time, where it has one." }),
  ),
  likewise_dlq_left_out: Type.Optional(
    Type.Union([Type.Literal('value'), Type.Literal('key,value,headers')], {
      description: 'What of the record is missing, where the topic does not take all of it.',
    }),
  ),
  likewise_dlq_null_headers: Type.Optional(
    text("The record's headers without a value, separated by commas; they are sent as empty ones."),
  ),
})
