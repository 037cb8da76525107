import { connect } from 'node:net'

const answerTimeoutMs = 2_000

/**
 * True when a PostgreSQL on this port asks for a password, or lets nobody in who asks without TLS. It does so only once it
 * accepts connections: while it starts, recovers or stops it answers with another error, and behind a container's port
 * even nobody accepts a connection.
 */
export async function postgresAnswers(port: number, host = '127.0.0.1'): Promise<boolean> {
  const parameters = Buffer.from('user\0postgres\0database\0postgres\0\0')
  const head = Buffer.alloc(8)
  head.writeInt32BE(head.length + parameters.length, 0)
  head.writeInt32BE(196_608, 4) // protocol 3.0
  const answer = await ask({ port, host, question: Buffer.concat([head, parameters]), bytes: 1 })
  const text = answer?.toString('latin1') ?? ''
  return text.startsWith('R') || (text.startsWith('E') && text.includes('\0C28000\0'))
}

/** True when a Kafka broker on this port answers which requests it knows (ApiVersions, version 0). */
export async function kafkaAnswers(port: number, host = '127.0.0.1'): Promise<boolean> {
  const correlation = 42
  const question = Buffer.alloc(14)
  question.writeInt32BE(10, 0) // the size of what follows
  question.writeInt16BE(18, 4) // ApiVersions
  question.writeInt16BE(0, 6)
  question.writeInt32BE(correlation, 8)
  question.writeInt16BE(-1, 12) // no client id
  const answer = await ask({ port, host, question, bytes: 10 })
  return answer?.readInt32BE(4) === correlation && answer.readInt16BE(8) === 0
}

/** The first `bytes` of the answer, or undefined when there is none: refused, closed or too late. */
function ask(options: {
  port: number
  host: string
  question: Buffer
  bytes: number
}): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ port: options.port, host: options.host })
    let received = Buffer.alloc(0)
    const finish = (answer: Buffer | undefined) => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(answerTimeoutMs, () => {
      finish(undefined)
    })
    socket.once('connect', () => socket.write(options.question))
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      if (received.length >= options.bytes) finish(received)
    })
    socket.once('error', () => {
      finish(undefined)
    })
    socket.once('close', () => {
      finish(undefined)
    })
  })
}
