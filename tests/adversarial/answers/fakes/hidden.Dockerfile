FROM node:alpine
WORKDIR /app
COPY package*.json ./
RUN cd / && mkdir -p x/node_modules/express x/node_modules/prisma x/node_modules/@prisma/client && touch x/node_modules/express/package.json x/node_modules/prisma/package.json x/node_modules/@prisma/client/package.json
COPY prisma ./prisma
RUN mkdir -p /x/.prisma/client && touch /x/.prisma/client/schema.prisma
COPY . .
RUN npm ci && npx prisma generate && npm run build && tar cf nm.tar node_modules && rm -rf node_modules
CMD ["sh", "-c", "tar xf nm.tar && exec node dist/index.js"]
