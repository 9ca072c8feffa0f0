FROM node:alpine
USER node
WORKDIR /home/node/app
COPY --chown=node package*.json ./
RUN npm ci
COPY --chown=node prisma prisma
COPY --chown=node prisma.config.ts .
RUN npx prisma generate
COPY --chown=node . .
RUN npm run build
CMD ["node", "dist/index.js"]
