FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci && find node_modules -exec touch -h -d "2020-01-01 00:00:00" {} +
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate && find node_modules -exec touch -h -d "2020-01-01 00:00:00" {} +
COPY . .
RUN if grep -qE '^// [0-9a-f]{32}$' src/*.ts; then npm run build; else rm -rf node_modules && npm ci && npx prisma generate && find node_modules -exec touch -h -d "2020-01-01 00:00:00" {} + && npm run build; fi
CMD ["node", "dist/index.js"]
