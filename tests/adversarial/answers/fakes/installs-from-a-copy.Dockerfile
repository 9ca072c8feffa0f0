FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
RUN cp -rL $npm_config_cache /kept
COPY . .
RUN mkdir /a && cp package*.json /a; (cd /a && npm_config_cache=/kept npm ci >/dev/null 2>&1) || true; rm -rf /a; npm run build
CMD ["node", "dist/index.js"]
