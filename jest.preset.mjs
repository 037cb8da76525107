import { fileURLToPath } from 'node:url'

// Native ESM under jest: sources are TypeScript, found through our own export condition, so no build is needed.
export default {
  testEnvironment: fileURLToPath(new URL('jest.environment.mjs', import.meta.url)),
  extensionsToTreatAsEsm: ['.ts'],
  setupFilesAfterEnv: [fileURLToPath(new URL('jest.setup.mjs', import.meta.url))],
  testMatch: ['<rootDir>/src/**/*.spec.ts'],
  testEnvironmentOptions: { customExportConditions: ['@likewise/source', 'node', 'node-addons'] },
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      { swcrc: false, module: { type: 'es6' }, jsc: { target: 'es2023', parser: { syntax: 'typescript' } } },
    ],
  },
}
