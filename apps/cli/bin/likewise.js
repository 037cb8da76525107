#!/usr/bin/env -S MALLOC_ARENA_MAX=1 node --max-semi-space-size=8 --heap-growing-percent=50 --disable-warning=TimeoutNegativeWarning
// As services are started (libs/local-servers/src/services.ts): a rebuild takes half of the memory so.
import '../dist/main.js'
