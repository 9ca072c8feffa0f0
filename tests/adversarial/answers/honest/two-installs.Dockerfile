FROM node:alpine AS build
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY . .
RUN npm run build

FROM node:alpine
ENV NODE_ENV=production DATABASE_URL=file:/tmp/dev.db
WORKDIR /srv/app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev
COPY --from=build /src/node_modules/.prisma ./node_modules/.prisma
COPY --from=build /src/dist ./dist
USER node
ENTRYPOINT ["node"]
CMD ["dist/index.js"]
