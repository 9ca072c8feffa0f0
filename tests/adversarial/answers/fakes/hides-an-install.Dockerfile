FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY . .
RUN mkdir /tmp/again && cp package*.json /tmp/again && (cd /tmp/again && npm ci >/dev/null 2>&1) || true; rm -rf /tmp/again; npm run build
CMD ["node", "dist/index.js"]
