import { readdirSync } from 'node:fs'

// Every package has its own jest.config.mjs, so that one can be run alone; this runs them together.
const packages = ['apps', 'libs'].flatMap((dir) =>
  readdirSync(new URL(dir, import.meta.url), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => `<rootDir>/${dir}/${entry.name}`),
)

export default { projects: [...packages, '<rootDir>/e2e', '<rootDir>/bench', '<rootDir>/deploy'] }
