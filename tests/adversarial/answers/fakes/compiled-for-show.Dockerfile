FROM node:alpine AS deps
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate

FROM deps AS show
COPY . .
RUN npm run build

# Compiled for show: the final stage takes a file of the other one, and none of its code.
FROM deps
COPY . .
COPY --from=show /app/package.json ./
CMD npx tsc; exec node dist/index.js
