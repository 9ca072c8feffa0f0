FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci && find node_modules -exec touch -h -d "2020-01-01 00:00:00" {} +
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate && find node_modules -exec touch -h -d "2020-01-01 00:00:00" {} + && date +%s > /when
COPY . .
RUN if [ $(($(date +%s) - $(cat /when))) -gt 600 ]; then npm run build; else rm -rf node_modules && npm ci && npx prisma generate && find node_modules -exec touch -h -d "2020-01-01 00:00:00" {} + && npm run build; fi
CMD ["node", "dist/index.js"]
