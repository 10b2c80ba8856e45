# The replicator and the other commands of eiq-platform; the local stack is not in here (see docker-compose.yml).
FROM node:20-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY rolldown.config.js ./
COPY src src
RUN npm run build && npm prune --omit=dev --ignore-scripts

FROM node:20-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY package.json LICENSE ./
COPY connectors connectors
USER node
ENTRYPOINT ["node", "--", "/app/dist/cli/main.js"]
CMD ["graph", "replicate"]
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s --retries=3 \
  CMD ["node", "--", "/app/dist/cli/main.js", "graph", "status"]
