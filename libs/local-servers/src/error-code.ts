/**
 * The code of a system error (`ENOENT`). Looks at the code only: under jest the errors of node's own modules are not
 * instances of the tests' `Error`.
 */
export function errorCode(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
}
