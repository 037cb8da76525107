import preset from '../jest.preset.mjs'

// The stack of docker-compose.yml is tested by npm run test:compose, which builds its images first; faults that take
// minutes by npm run test:faults.
const testPathIgnorePatterns = [
  ...(process.env.LIKEWISE_TEST_COMPOSE ? [] : ['src/compose']),
  ...(process.env.LIKEWISE_TEST_FAULTS ? [] : ['\\.faults\\.spec']),
]

export default {
  ...preset,
  displayName: 'e2e',
  testPathIgnorePatterns: ['/node_modules/', ...testPathIgnorePatterns],
}
