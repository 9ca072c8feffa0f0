FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci && mkdir /opt/lib && mv node_modules /opt/lib/node_modules && ln -s /opt/lib/node_modules node_modules
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY . .
RUN npm run build
CMD ["node", "dist/index.js"]
