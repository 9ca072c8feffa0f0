FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY . .
RUN npx tsc --outDir node_modules/my-app && echo '{"type":"module"}' > node_modules/my-app/package.json && rm -rf src
CMD ["node", "node_modules/my-app/index.js"]
