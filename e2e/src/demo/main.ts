import { ignoreTimerWarning } from '@likewise/kafka'
import { Failure, maskPasswords } from '@likewise/service'
import { brokerOutage } from './broker-outage.ts'
import { openContext } from './context.ts'
import { duplicates } from './duplicates.ts'
import { findRunningStack } from './running-stack.ts'
import { scaleOut } from './scale-out.ts'
import type { StoryResult } from './story.ts'
import { showOpening, showResult, showSummary } from './story-view.ts'

const stories = [scaleOut, duplicates, brokerOutage]

/** Tells the stories one after the other. @returns whether all verdicts hold. */
async function demo(signal: AbortSignal): Promise<boolean> {
  const begunMs = performance.now()
  const { context, close } = openContext({
    ...(await findRunningStack()),
    narrate: {
      open: (title, text) => say(showOpening(title, text)),
      step: (text) => say(`  … ${text}`),
    },
    signal,
  })
  const results: StoryResult[] = []
  try {
    for (const story of stories) {
      signal.throwIfAborted()
      const result = await story(context)
      results.push(result)
      say(showResult(result))
    }
  } finally {
    await close()
  }
  say(showSummary(results, (performance.now() - begunMs) / 1_000))
  return results.every((result) => result.kind === 'skipped' || result.holds)
}

const say = (text: string): void => {
  process.stdout.write(`${text}\n`)
}

ignoreTimerWarning()
const stopping = new AbortController()
const stopped = new Failure('NOT_FOUND', 'Stopped.')
let firstMs: number | undefined
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // A terminal's Ctrl-C reaches us twice, from the terminal and from npm; one a second later is a person's.
    firstMs ??= performance.now()
    if (performance.now() - firstMs > 1_000) process.exit(130)
    if (!stopping.signal.aborted)
      say('\nStopping: what the demo made is taken away, what it stopped comes back …')
    stopping.abort(stopped)
  })
}
try {
  process.exitCode = (await demo(stopping.signal)) ? 0 : 1
} catch (error) {
  process.exitCode = error === stopped ? 130 : 1
  if (!(error instanceof Failure)) throw error
  if (error !== stopped) process.stderr.write(`${maskPasswords(error.message)}\n`)
}
