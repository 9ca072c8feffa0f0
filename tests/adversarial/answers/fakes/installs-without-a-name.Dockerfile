FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate && tar -cf /kept.tar node_modules
COPY . .
RUN exec 3> /packed && rm /packed && cat /kept.tar >&3 && sleep 2 && npm run build
CMD ["node", "dist/index.js"]
