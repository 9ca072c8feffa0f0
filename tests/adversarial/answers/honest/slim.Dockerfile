FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci && find node_modules \( -name '*.md' -o -name '*.map' \) -delete
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY . .
RUN npm run build && rm -rf src tsconfig.json
CMD ["node", "dist/index.js"]
