FROM node:alpine
WORKDIR /decoy
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
WORKDIR /app
COPY . .
RUN npm ci && npx prisma generate && npm run build
CMD ["node", "dist/index.js"]
