FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
COPY prisma prisma/
COPY prisma.config.ts .
RUN <<EOF
set -eu
npm install-clean --no-audit
./node_modules/.bin/prisma generate
EOF
COPY tsconfig.json .
COPY src src
RUN node_modules/.bin/tsc
CMD exec npm start
