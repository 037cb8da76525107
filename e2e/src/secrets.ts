import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { workspaceRoot } from '@likewise/local-servers'

const users = {
  owner: 'likewise',
  like_api: 'like_api',
  relay: 'outbox_relay',
  consumer: 'metrics_consumer',
  metrics_api: 'metrics_api',
  operator: 'operator',
}

/** What docker-compose.production.yml wants in its folder; `ownerPassword` is in the owner's URL. */
export async function writeSecrets(
  folder: string,
  {
    password,
    ownerPassword = password,
    query = '',
  }: { password: string; ownerPassword?: string; query?: string },
): Promise<void> {
  const urls = Object.entries(users).map(([name, user]) => [
    `${name}_database_url`,
    `postgres://${user}:${name === 'owner' ? ownerPassword : password}@postgres:5432/likewise${query}\n`,
  ])
  await write(folder, {
    postgres_password: password,
    ...(Object.fromEntries(urls) as Record<string, string>),
  })
}

/** What docker-compose.secure.yml wants besides, as docs/containers.md says to make it. */
export async function writeSecureSecrets(folder: string, password: string): Promise<void> {
  const query = '?sslmode=verify-full&sslrootcert=/run/secrets/ca'
  await writeSecrets(folder, { password, query })
  const kafka = ['relay', 'consumer', 'topics', 'operator']
  await write(
    folder,
    Object.fromEntries(kafka.map((user) => [`${user}_kafka_password`, `${password}-${user}`])),
  )
  const tls = join(folder, 'tls')
  const script = join(workspaceRoot, 'deploy/tls/make-certificates.sh')
  await run('sh', [script, tls, 'postgres=DNS:postgres', 'kafka=DNS:kafka'])
  await run('sh', ['-c', 'chmod 755 "$0" && chmod 644 "$0"/*', tls])
}

const run = promisify(execFile)

async function write(folder: string, files: Record<string, string>): Promise<void> {
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text, { mode: 0o644 })
}
