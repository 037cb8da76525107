/** What one user may do with topics or groups of one name, or of all names that begin so. */
export interface Right {
  readonly on: 'topic' | 'group'
  readonly name: string
  readonly isPrefix?: boolean
  readonly may: readonly (
    'read' | 'write' | 'create' | 'delete' | 'alter' | 'describe' | 'describe configs'
  )[]
}

export interface AccessPlan {
  readonly user: string
  /** Left out, where the user proves itself by a certificate. */
  readonly password?: string
  readonly rights: readonly Right[]
}

export interface Names {
  /** The topic of the events, and that of the dead letters. */
  readonly events: string
  readonly deadLetters: string
  /** Of the consumer; the tools' own groups begin with it. */
  readonly group: string
}

/**
 * What each service needs of Kafka, and no more. Nobody but `topics` makes a topic or changes one, and it reads and writes
 * none. `read` and `write` include `describe`. Pure.
 */
export function serviceRights({ events, deadLetters, group }: Names) {
  return {
    'outbox-relay': [{ on: 'topic', name: events, may: ['write', 'describe'] }],
    'metrics-consumer': [
      // describe configs: to warn where the topic keeps records for longer than ids are remembered
      { on: 'topic', name: events, may: ['read', 'describe configs'] },
      { on: 'topic', name: deadLetters, may: ['write'] },
      { on: 'group', name: group, may: ['read'] },
    ],
    topics: [
      { on: 'topic', name: events, may: ['create', 'describe', 'alter'] },
      { on: 'topic', name: deadLetters, may: ['create', 'describe'] },
    ],
    // status, rebuild, replay: reads the topic in groups of its own, and removes them
    operator: [
      { on: 'topic', name: events, may: ['read'] },
      { on: 'topic', name: deadLetters, may: ['read'] },
      { on: 'group', name: group, may: ['describe'] },
      { on: 'group', name: `${group}-`, isPrefix: true, may: ['read', 'delete'] },
    ],
    // whatever decides by the lag how many consumers there are (KEDA): sees how far things are, and reads nothing
    scaler: [
      { on: 'topic', name: events, may: ['describe'] },
      { on: 'group', name: group, may: ['describe'] },
    ],
  } as const satisfies Record<string, readonly Right[]>
}
