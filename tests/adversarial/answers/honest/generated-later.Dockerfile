FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY prisma* ./prisma/
RUN mv prisma/prisma.config.ts . && npx prisma generate && cp -r node_modules/.prisma /tmp/client
COPY . .
RUN npm run build
CMD ["node", "dist/index.js"]
