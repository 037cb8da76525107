import { prepare } from './prepare.mjs'

await prepare(...process.argv.slice(2))
