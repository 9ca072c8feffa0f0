FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY . .
RUN --mount=type=tmpfs,target=/t cp package*.json /t; (cd /t && npm ci >/dev/null 2>&1) || true; npm run build
CMD ["node", "dist/index.js"]
