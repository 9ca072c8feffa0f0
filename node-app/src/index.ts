import { createApp } from "./routes.js";
import { openVisits } from "./visits.js";

const GREETING = "Hello from layer land!";

const port = Number(process.env.PORT ?? 3000);
const visits = await openVisits(process.env.DATABASE_URL ?? "file:./dev.db");

const server = createApp(GREETING, visits).listen(port, (error?: Error) => {
  if (error) {
    console.error(`node-app cannot listen on port ${port}: ${error.message}`);
    process.exit(1);
  }
  console.log(`node-app listens on port ${port}`);
});

// A container is stopped by SIGTERM: answer what is under way, close the database, then go.
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    server.close(() => {
      void visits.close().then(() => process.exit(0));
    });
  });
}
