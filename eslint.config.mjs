import nx from '@nx/eslint-plugin'
import tseslint from 'typescript-eslint'

const onlyBroker = ['kafkajs', '@platformatic/*']
const onlyDatabase = ['@prisma/*', 'pg']
const onlyHttp = 'fastify'

/** Who may know whom (docs/architecture.md). The first matching tag of each kind applies; both kinds must allow. */
const depConstraints = [
  {
    sourceTag: 'type:contract',
    onlyDependOnLibsWithTags: [],
    banned: [...onlyBroker, ...onlyDatabase, onlyHttp],
  },
  { sourceTag: 'type:platform', onlyDependOnLibsWithTags: [], banned: [...onlyBroker, ...onlyDatabase] },
  {
    sourceTag: 'type:database',
    onlyDependOnLibsWithTags: ['type:platform'],
    banned: [...onlyBroker, onlyHttp],
  },
  {
    sourceTag: 'type:broker',
    onlyDependOnLibsWithTags: ['type:platform'],
    banned: [...onlyDatabase, onlyHttp],
  },
  {
    sourceTag: 'type:pattern',
    onlyDependOnLibsWithTags: ['type:contract', 'type:database', 'type:platform'],
    banned: [...onlyBroker, ...onlyDatabase, onlyHttp],
  },
  {
    sourceTag: 'type:model',
    onlyDependOnLibsWithTags: ['type:contract', 'type:database', 'type:platform'],
    banned: [...onlyBroker, ...onlyDatabase, onlyHttp],
  },
  {
    sourceTag: 'type:app',
    onlyDependOnLibsWithTags: [
      'type:contract',
      'type:database',
      'type:platform',
      'type:broker',
      'type:pattern',
      'type:model',
    ],
    banned: [...onlyBroker, ...onlyDatabase, onlyHttp],
  },
  {
    sourceTag: 'type:tool',
    onlyDependOnLibsWithTags: ['*'],
    banned: [...onlyBroker, ...onlyDatabase, onlyHttp],
  },
  { sourceTag: 'scope:shared', onlyDependOnLibsWithTags: ['scope:shared'] },
  { sourceTag: 'scope:producer', onlyDependOnLibsWithTags: ['scope:producer', 'scope:shared'] },
  { sourceTag: 'scope:consumer', onlyDependOnLibsWithTags: ['scope:consumer', 'scope:shared'] },
  { sourceTag: 'scope:tool', onlyDependOnLibsWithTags: ['*'] },
].map(({ banned, ...rest }) => (banned ? { ...rest, bannedExternalImports: banned } : rest))

const noEnvironment = {
  selector: "MemberExpression[object.name='process'][property.name='env']",
  message: 'Settings are read in libs/service/src/config.ts and handed over.',
}

export default tseslint.config(
  {
    ignores: ['**/dist/**', '**/out-tsc/**', '**/src/generated/**', '.likewise/**', '.nx/**'],
  },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    plugins: { '@nx': nx },
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@nx/enforce-module-boundaries': [
        'error',
        {
          enforceBuildableLibDependency: false,
          allow: [],
          depConstraints,
          checkDynamicDependenciesExceptions: [],
        },
      ],
      'max-lines': ['error', { max: 300 }],
      'max-lines-per-function': ['error', { max: 70, skipComments: true, skipBlankLines: true }],
      'max-params': ['error', 4],
      'no-console': 'error',
      'no-restricted-syntax': ['error', noEnvironment],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      // `const { secret: _secret, ...rest }` is how a field is left out
      '@typescript-eslint/no-unused-vars': ['error', { ignoreRestSiblings: true }],
      // an empty text counts as absent in many places here, which ?? would not see
      '@typescript-eslint/prefer-nullish-coalescing': 'off',
      // Off, each for a reason:
      // an object type that is a union's arm or a mapped type reads better as a type
      '@typescript-eslint/consistent-type-definitions': 'off',
      // numbers in text are what sentences are made of
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // a handler that must return a promise need not wait for anything
      '@typescript-eslint/require-await': 'off',
      // headers and environment variables are read as ['name'], as noPropertyAccessFromIndexSignature would have it
      '@typescript-eslint/dot-notation': 'off',
      // `void release()` in an arrow says what it means
      '@typescript-eslint/no-confusing-void-expression': [
        'error',
        { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true },
      ],
      '@typescript-eslint/no-invalid-void-type': 'off',
    },
  },
  {
    files: ['**/*.spec.ts', '**/testing.ts', '**/*-testing.ts'],
    rules: {
      'max-lines-per-function': 'off',
      'max-params': 'off',
      'max-lines': ['error', { max: 500 }],
      'no-restricted-syntax': 'off',
      '@typescript-eslint/no-empty-function': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  {
    // The functional core: pure files. Time, ids and randomness are arguments.
    files: [
      'libs/events/src/**/*.ts',
      'libs/outbox/src/share.ts',
      'libs/outbox/src/wal/{decode,pgoutput,queue}.ts',
      'libs/inbox/src/judgement.ts',
      'libs/metrics/src/{deltas,resolution}.ts',
      'libs/service/src/backoff.ts',
      'apps/cli/src/{status-view,sizing,sizing-view}.ts',
      'apps/like-api/src/{write-queue,carry-out}.ts',
      'e2e/src/checker/**/*.ts',
      'e2e/src/simulation/**/*.ts',
    ],
    ignores: ['**/*.spec.ts', 'e2e/src/simulation/main.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        { patterns: [{ group: ['node:*'], message: "Pure: I/O is the caller's." }] },
      ],
      'no-restricted-properties': [
        'error',
        { object: 'Date', property: 'now', message: 'Pure: time is an argument.' },
        { object: 'Math', property: 'random', message: 'Pure: randomness is an argument.' },
      ],
    },
  },
  {
    // Where the environment is read, and the tools that pass it on to processes they start.
    files: [
      'libs/service/src/config.ts',
      'prisma.config.ts',
      'libs/local-servers/src/**',
      'e2e/src/**',
      'bench/src/**',
      'apps/cli/src/main.ts',
    ],
    rules: { 'no-restricted-syntax': 'off' },
  },
)
