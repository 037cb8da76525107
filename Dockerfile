# One image per app: docker build --build-arg APP=like-api -t likewise/like-api .
# (docker compose build makes them all; docs/containers.md says what is in them.)
ARG NODE_IMAGE=node:24-bookworm-slim

# What npm needs to install, and no more: a layer below changes only when its input does.
FROM ${NODE_IMAGE} AS manifests
COPY . /source
RUN mkdir /likewise && cd /source \
 && find . \( -name package.json -o -name package-lock.json -o -name .npmrc \) -exec cp --parents -t /likewise {} +

# All packages and the build of all apps: the same for every APP, so it is done once.
FROM ${NODE_IMAGE} AS build
WORKDIR /likewise
COPY --from=manifests /likewise ./
RUN --mount=type=cache,target=/root/.npm npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
COPY . .
# Types are checked by npm run check; checking them here would take five times as long.
RUN node scripts/build.mjs --noCheck

# What one app needs to run: its own packages, without those that Prisma and others would only like to have.
FROM ${NODE_IMAGE} AS packages
ARG APP
WORKDIR /likewise
COPY --from=manifests /likewise ./
COPY scripts/sbom.mjs scripts/
RUN test -n "${APP}" || { echo 'Say which app: --build-arg APP=like-api (a folder of apps/)'; exit 1; }
RUN --mount=type=cache,target=/root/.npm \
    npm ci --omit=dev --omit=optional --omit=peer --ignore-scripts --no-audit --no-fund --loglevel=error -w @likewise/${APP} \
 && node scripts/sbom.mjs --in . ${APP} > sbom.cdx.json \
 && rm -r scripts \
 && rm .npmrc \
 && find node_modules/@prisma/client/runtime -name 'query_compiler_*' ! -name '*_small_bg.postgresql.*' -delete \
 && find node_modules \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -type f -delete

# The built code of the app and of the libraries that it links.
FROM packages AS code
ARG APP
COPY --from=build /likewise/apps /built/apps
COPY --from=build /likewise/libs /built/libs
RUN for package in apps/${APP} $(for link in node_modules/@likewise/*; do realpath --relative-to=. "$link"; done); do \
      mkdir -p "/code/$package" && cp -R "/built/$package/dist" "/code/$package/" || exit 1; \
    done \
 && find /code \( -name '*.d.ts' -o -name '*.map' -o -name '*.tsbuildinfo' \) -delete

# docker build --target sbom -o type=local,dest=. … writes the software bill of materials.
FROM scratch AS sbom
COPY --from=packages /likewise/sbom.cdx.json /

FROM ${NODE_IMAGE} AS app
ARG APP
# Every app listens on 8080 of its container.
ENV NODE_ENV=production MALLOC_ARENA_MAX=1 \
    LIKE_API_HOST=0.0.0.0 LIKE_API_PORT=8080 \
    METRICS_API_HOST=0.0.0.0 METRICS_API_PORT=8080 \
    RELAY_HOST=0.0.0.0 RELAY_PORT=8080 \
    CONSUMER_HOST=0.0.0.0 CONSUMER_PORT=8080
WORKDIR /likewise
COPY --from=packages /likewise ./
COPY prisma/migrations prisma/migrations
COPY deploy/docker/healthcheck.mjs ./
COPY --from=code /code ./
WORKDIR /likewise/apps/${APP}
USER node
EXPOSE 8080
# Unhealthy after two minutes: an outage of a server is waited out, and `up --wait` gives up on what is unhealthy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=12 CMD ["node", "/likewise/healthcheck.mjs"]
# The flags keep garbage from piling up: docs/development.md, "Memory of a service".
ENTRYPOINT ["node", "--max-semi-space-size=8", "--heap-growing-percent=50", "--disable-warning=TimeoutNegativeWarning", "dist/main.js"]
