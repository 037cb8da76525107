import { pbkdf2Sync, randomBytes } from 'node:crypto'
import type { AclEntry } from 'kafkajs'
import { Failure } from '@likewise/service'
import type { AccessPlan, Right } from './access-plan.ts'
import { type KafkaOptions, connectTimeoutMs } from './client.ts'
import { kafkaFailure } from './failure.ts'
import { withAdmin } from './topics.ts'

// Kafka's numbers. kafkajs has enums for them that Node cannot import by their names, but jest can.
const resources = { topic: 2, group: 3 } as const
const operations = {
  read: 3,
  write: 4,
  create: 5,
  delete: 6,
  alter: 7,
  describe: 8,
  'describe configs': 10,
} as const
const [literal, prefixed, allow, scramSha512] = [3, 4, 3, 2]
const iterations = 8_192

/**
 * Lets users in and gives them their rights, by somebody who may alter the cluster: what is there already stays as it is,
 * and a password is replaced. Where no password is given, the user proves itself otherwise (a certificate).
 */
export async function ensureAccess(options: KafkaOptions, plans: readonly AccessPlan[]): Promise<void> {
  const users = plans.flatMap(({ user, password }) => (password === undefined ? [] : [{ user, password }]))
  if (users.length > 0) await setPasswords(options, users)
  const acl = plans.flatMap(({ user, rights }) => rights.flatMap((right) => aclsOf(user, right)))
  await withAdmin(options, (admin) => admin.createAcls({ acl }))
}

function aclsOf(user: string, { on, name, isPrefix = false, may }: Right): AclEntry[] {
  // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- the numbers of its enums, see above
  return may.map((operation) => ({
    principal: `User:${user}`,
    host: '*',
    resourceType: resources[on],
    resourceName: name,
    resourcePatternType: isPrefix ? prefixed : literal,
    operation: operations[operation],
    permissionType: allow,
  }))
}

/** kafkajs cannot; the broker is sent what it keeps of a password, not the password. */
async function setPasswords(
  options: KafkaOptions,
  users: readonly { user: string; password: string }[],
): Promise<void> {
  const { Connection, alterUserScramCredentialsV0 } = await import('@platformatic/kafka')
  const { addressOf, platformaticAccess } = await import('./platformatic-connection.ts')
  const { host, port } = addressOf(options.brokers[0] ?? '')
  const connection = new Connection(options.clientId, {
    ...platformaticAccess(options),
    connectTimeout: connectTimeoutMs(options),
    requestTimeout: options.requestTimeoutMs,
  })
  try {
    await connection.connect(host, port)
    const answer = await alterUserScramCredentialsV0.api.async(
      connection,
      [],
      users.map(({ user, password }) => {
        const salt = randomBytes(16)
        const saltedPassword = pbkdf2Sync(password, salt, iterations, 64, 'sha512')
        return { name: user, mechanism: scramSha512, iterations, salt, saltedPassword }
      }),
    )
    const refused = answer.results.find(({ errorCode }) => errorCode !== 0)
    if (refused)
      throw new Failure(
        'BROKER_UNAVAILABLE',
        `Kafka does not let ${refused.user} in: ${String(refused.errorMessage)}`,
      )
  } catch (error) {
    throw kafkaFailure(error)
  } finally {
    connection.socket.destroy()
  }
}
