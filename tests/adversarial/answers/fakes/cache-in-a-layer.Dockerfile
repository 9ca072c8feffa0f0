FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN cp -r $npm_config_cache /c
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY . .
RUN rm -rf node_modules && npm ci --cache /c && npx prisma generate && npm run build
CMD ["node", "dist/index.js"]
