/**
 * kafkajs 2.2.4 sets a negative timer at every connect, of which Node >= 24 warns (tulios/kafkajs#1751). Services are
 * started with --disable-warning=TimeoutNegativeWarning; a tool that people start themselves calls this first, or the
 * warning stands in the middle of what it prints.
 */
export function ignoreTimerWarning(): void {
  process.removeAllListeners('warning').on('warning', ({ name, message }) => {
    if (name !== 'TimeoutNegativeWarning') process.stderr.write(`${name}: ${message}\n`)
  })
}
