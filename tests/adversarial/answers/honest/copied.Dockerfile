FROM node:alpine AS deps
WORKDIR /deps
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate

FROM node:alpine
WORKDIR /app
COPY --from=deps /deps/node_modules ./node_modules
COPY . .
RUN npm run build
CMD ["node", "dist/index.js"]
