import express, { type Express } from "express";

import type { Visits } from "./visits.js";

export function createApp(greeting: string, visits: Visits): Express {
  const app = express();

  app.get("/", (_request, response) => {
    response.type("text/plain").send(`${greeting}\n`);
  });

  app.get("/visits", async (_request, response) => {
    response.json(await visits.add());
  });

  return app;
}
