FROM node:alpine
WORKDIR "/opt/my app"
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY . .
RUN npx tsc --outDir /opt/my\ app/lib/out --sourceMap --declaration --removeComments --target es2024
CMD ["node", "lib/out/index.js"]
