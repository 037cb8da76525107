/** How fine the buckets are that an answer was made of. Words of the API, so permanent. */
export type Resolution = 'minute' | 'hour' | 'day'

/** Steps of a history, in seconds. All begin at UTC edges. */
export const steps = { '1m': 60, '5m': 300, '1h': 3_600, '1d': 86_400 } as const
export type Step = keyof typeof steps

export const stepOf = (seconds: number): Step =>
  (Object.keys(steps) as Step[]).find((step) => steps[step] === seconds) ?? '1d'

export const floorTo = (seconds: number, step: number): number => Math.floor(seconds / step) * step
export const ceilTo = (seconds: number, step: number): number => Math.ceil(seconds / step) * step

export const isoOf = (seconds: number): string => new Date(seconds * 1_000).toISOString()
