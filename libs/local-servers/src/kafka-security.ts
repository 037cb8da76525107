import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** How clients of an embedded broker get in. What they may do there is said by access rules: without one, nothing. */
export interface BrokerSecurity {
  /** PEM. `clientCa`: clients must show a certificate of it, and are known by its CN where they have no password. */
  tls?: { cert: string; key: string; clientCa?: string }
  /** With a password, or by a certificate alone. */
  sasl: boolean
}

/** Lines over those of every embedded broker; the files are written into `folder`. */
export async function securitySettings(
  { tls, sasl }: BrokerSecurity,
  {
    folder,
    port,
    internalPort,
    controllerPort,
  }: Record<'port' | 'internalPort' | 'controllerPort', number> & {
    folder: string
  },
): Promise<Record<string, string | number>> {
  const protocol = tls ? (sasl ? 'SASL_SSL' : 'SSL') : 'SASL_PLAINTEXT'
  return {
    // The broker itself, and whoever gives out rights, come in by a second door of this machine's own.
    listeners: `CLIENT://127.0.0.1:${port},INTERNAL://127.0.0.1:${internalPort},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `CLIENT://127.0.0.1:${port},INTERNAL://127.0.0.1:${internalPort}`,
    'inter.broker.listener.name': 'INTERNAL',
    'listener.security.protocol.map': `CLIENT:${protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT`,
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'super.users': 'User:ANONYMOUS',
    ...(sasl && { 'sasl.enabled.mechanisms': 'SCRAM-SHA-512,SCRAM-SHA-256' }),
    ...(sasl && {
      // They must stand there; the users are the broker's own, see ensureAccess.
      ...scramModule('client', 'scram-sha-512'),
      ...scramModule('client', 'scram-sha-256'),
    }),
    ...(tls && (await tlsSettings(tls, folder))),
  }
}

const scramModule = (listener: string, mechanism: string) => ({
  [`listener.name.${listener}.${mechanism}.sasl.jaas.config`]:
    'org.apache.kafka.common.security.scram.ScramLoginModule required;',
})

async function tlsSettings({ cert, key, clientCa }: NonNullable<BrokerSecurity['tls']>, folder: string) {
  const [keystore, truststore] = [join(folder, 'keystore.pem'), join(folder, 'truststore.pem')]
  await writeFile(keystore, `${key}\n${cert}\n`, { mode: 0o600 })
  await chmod(keystore, 0o600)
  if (clientCa !== undefined) await writeFile(truststore, clientCa)
  return {
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.location': keystore,
    'ssl.principal.mapping.rules': 'RULE:^CN=(.*)$/$1/,DEFAULT',
    // Of the listener, where there is SASL too: there the one for all is not looked at.
    ...(clientCa !== undefined && {
      'ssl.truststore.type': 'PEM',
      'ssl.truststore.location': truststore,
      'listener.name.client.ssl.client.auth': 'required',
    }),
  }
}
