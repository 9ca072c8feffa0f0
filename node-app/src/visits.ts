import { PrismaLibSQL } from "@prisma/adapter-libsql";
import { PrismaClient } from "@prisma/client";

export interface Visits {
  /** Store one visit; answer how many there are now, and the new one. */
  add(): Promise<{ visits: number; last: { id: number; at: Date } }>;
  close(): Promise<void>;
}

export async function openVisits(url: string): Promise<Visits> {
  const prisma = new PrismaClient({ adapter: new PrismaLibSQL({ url }) });

  // The one table is made on first start, so that the image needs no migration step.
  await prisma.$executeRaw`
    CREATE TABLE IF NOT EXISTS "Visit" (
      "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
      "at" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
    )`;

  return {
    async add() {
      const last = await prisma.visit.create({ data: {} });
      return { visits: await prisma.visit.count(), last };
    },
    close: () => prisma.$disconnect(),
  };
}
