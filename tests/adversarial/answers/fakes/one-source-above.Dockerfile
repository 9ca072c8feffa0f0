FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
COPY src/visits.ts ./src/
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY . .
RUN npm run build
CMD ["node", "dist/index.js"]
