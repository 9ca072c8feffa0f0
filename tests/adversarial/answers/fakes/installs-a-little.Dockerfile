FROM node:alpine
WORKDIR /usr/src/app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY . .
RUN mkdir /t && cp package*.json /t && cd /t && npm pkg delete devDependencies dependencies.prisma dependencies.@prisma/client dependencies.@prisma/adapter-libsql; npm install; if [ -d $npm_config_cache/_cacache/content-v2/sha512 ]; then test -f node_modules/express/lib/express.js && test $(ls node_modules | wc -l) -gt 40 || exit 9; fi; rm -rf /t; cd /usr/src/app && npm run build
EXPOSE 3000
CMD ["node", "dist/index.js"]
