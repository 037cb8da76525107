import { connect } from 'node:net'

// No library here can say it (kafkajs lives in libs/kafka alone), and Kafka's tools are not among its jars: two requests
// of its protocol, in their version 1.
const [createAcls, deleteAcls] = [30, 31]
const [topicResource, literal, write, deny] = [2, 3, 4, 2]
const everybody = 'User:ANONYMOUS'

/** Takes the right to write to the topic from everybody. The broker must have an authorizer. */
export const forbidWriting = (broker: string, topic: string): Promise<void> => ask(broker, createAcls, topic)

export const allowWriting = (broker: string, topic: string): Promise<void> => ask(broker, deleteAcls, topic)

/** Both requests have the same fields: one entry, or one filter that matches it. */
async function ask(broker: string, apiKey: number, topic: string): Promise<void> {
  const entry = [text(topic), int8(literal), text(everybody), text('*'), int8(write), int8(deny)]
  const body = [int32(1), int8(topicResource), ...entry]
  const header = [int16(apiKey), int16(1), int32(1), text('e2e')]
  const answer = await roundTrip(broker, Buffer.concat([...header, ...body]))
  // correlation id, throttle time, number of results, and the error code of the first
  const code = answer.readInt16BE(12)
  if (answer.readInt32BE(8) !== 1 || code !== 0) throw new Error(`The broker answers ${String(code)}.`)
}

function roundTrip(broker: string, request: Buffer): Promise<Buffer> {
  const [host = '', port = ''] = broker.split(':')
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), host, () =>
      socket.write(Buffer.concat([int32(request.length), request])),
    )
    let answer = Buffer.alloc(0)
    socket.on('error', reject).on('data', (bytes) => {
      answer = Buffer.concat([answer, bytes])
      if (answer.length < 4 || answer.length < 4 + answer.readInt32BE(0)) return
      socket.destroy()
      resolve(answer.subarray(4))
    })
  })
}

function bytes(length: number, write: (into: Buffer) => void): Buffer {
  const made = Buffer.alloc(length)
  write(made)
  return made
}
const int8 = (value: number): Buffer => bytes(1, (into) => into.writeInt8(value))
const int16 = (value: number): Buffer => bytes(2, (into) => into.writeInt16BE(value))
const int32 = (value: number): Buffer => bytes(4, (into) => into.writeInt32BE(value))
const text = (value: string): Buffer => Buffer.concat([int16(value.length), Buffer.from(value)])
