FROM node:alpine AS deps
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
ONBUILD COPY . .
ONBUILD RUN npm run build
FROM deps
CMD ["node", "dist/index.js"]
