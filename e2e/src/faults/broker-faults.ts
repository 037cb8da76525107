import type { LocalServer } from '@likewise/local-servers'
import { pause } from '@likewise/service'

/** What is done to a broker under everybody who uses it. */
export interface BrokerFault {
  readonly name: string
  disturb(broker: LocalServer): Promise<void>
}

export const brokerFaults: readonly BrokerFault[] = [
  {
    name: 'is killed and started again, five times under load',
    async disturb(broker) {
      for (let round = 0; round < 5; round += 1) {
        await broker.kill()
        await pause(1_000)
        await broker.start()
        await pause(5_000)
      }
    },
  },
  {
    name: 'is stopped (SIGSTOP) for 60 s under load',
    async disturb(broker) {
      const { pid } = broker
      if (pid === undefined) throw new Error('The broker does not run.')
      process.kill(pid, 'SIGSTOP')
      await pause(60_000)
      process.kill(pid, 'SIGCONT')
    },
  },
]
