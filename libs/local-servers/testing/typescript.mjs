// `node --import ./typescript.mjs --conditions=@likewise/source` runs the sources on every Node we support.
import { register } from 'node:module'

register('./typescript-hooks.mjs', import.meta.url)
