// Healthy while the app is ready. One attempt: Docker counts the failures.
const { ok } = await fetch('http://127.0.0.1:8080/readyz', { signal: AbortSignal.timeout(4_000) }).catch(
  () => ({ ok: false }),
)
process.exit(ok ? 0 : 1)
