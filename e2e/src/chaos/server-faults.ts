import { type Inject, byItself } from './injection.ts'

/** What happens to PostgreSQL and to Kafka as processes, and to their disks. */
export const serverFaults = {
  'postgres-crash': async ({ postgres }) => {
    await postgres?.process?.stop('SIGQUIT', 10_000) // what pg_ctl stop -m immediate sends
    return async () => postgres?.start()
  },
  'postgres-disk-full': async ({ postgres, disks }) => {
    disks.postgres?.fill()
    return async () => {
      disks.postgres?.empty()
      await postgres?.start() // it ends where it cannot write its log, or recover
    }
  },
  'kafka-crash': async ({ broker }) => {
    await broker.kill()
    return () => broker.start()
  },
  'kafka-hang': async ({ broker }) => {
    const { pid } = broker
    if (pid === undefined) return byItself
    process.kill(pid, 'SIGSTOP')
    return async () => {
      if (broker.pid === pid) process.kill(pid, 'SIGCONT')
    }
  },
  'kafka-disk-full': async ({ broker, disks }) => {
    disks.kafka?.fill()
    return async () => {
      disks.kafka?.empty()
      // It ends where it cannot write; where it lives on, some of its threads may not, and it does not end in order.
      await broker.kill()
      await broker.start()
    }
  },
} satisfies Record<string, Inject>
