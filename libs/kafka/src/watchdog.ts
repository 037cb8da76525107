/** fine → not ready, with a sentence → the client is replaced → the process ends, for the platform to start it again. */
export type Verdict = 'fine' | 'not ready' | 'restart' | 'exit'

/** When a member was last seen alive, in ms of a clock that stands still while the process does. */
export interface Signs {
  /** It joined, sent a heartbeat, or said what keeps it from that. */
  memberMs: number
  /** A batch or a part of one was handled, or told of an outage, or nothing was waiting. */
  progressMs: number
  /** Clients that replaced a silent one since the last progress. */
  restarts: number
}

export interface WatchdogLimits {
  silenceMs: number
  restartsMax: number
}

/**
 * An outage is told, over and over, by whoever waits it out, and is never given up on. A client that is wedged says
 * nothing: no heartbeat, or no batch though records wait. Pure.
 */
export function judge(signs: Signs, nowMs: number, { silenceMs, restartsMax }: WatchdogLimits): Verdict {
  const silentMs = nowMs - Math.min(signs.memberMs, signs.progressMs)
  if (silentMs >= silenceMs) return signs.restarts < restartsMax ? 'restart' : 'exit'
  return silentMs >= silenceMs / 2 || signs.restarts > 0 ? 'not ready' : 'fine'
}

/**
 * The time that has passed for a process which looks every `everyMs`: one that slept, was stopped or blocked for longer
 * could neither send a heartbeat nor see one, so its silence says nothing. Pure.
 */
export function awakeMs(elapsedMs: number, everyMs: number): number {
  return Math.min(Math.max(0, elapsedMs), 2 * everyMs)
}
