import preset from '../jest.preset.mjs'

// The stack of docker-compose.yml is tested by npm run test:compose, which builds its images first.
const testPathIgnorePatterns = process.env.LIKEWISE_TEST_COMPOSE ? [] : ['src/compose']

export default {
  ...preset,
  displayName: 'e2e',
  testPathIgnorePatterns: ['/node_modules/', ...testPathIgnorePatterns],
}
