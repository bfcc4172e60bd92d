/**
 * Makes the pictures of the status page in `docs/images`: `deno task screenshots`.
 * They show a fleet that is made up.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { StatusRoutes } from "../../src/http/status_routes.ts";
import { systemClock } from "../../src/lock/clock.ts";
import { startTestServer } from "../http/test_server.ts";
import { startBrowser } from "../support/browser.ts";
import { demoFleet } from "../support/demo_account.ts";

const folder = fileURLToPath(new URL("../../docs/images/", import.meta.url));

/** The pictures. */
const PICTURES = [
  { name: "status-light", scheme: "light", width: 1100, height: 945 },
  { name: "status-dark", scheme: "dark", width: 1100, height: 945 },
  { name: "status-phone", scheme: "light", width: 360, height: 900 },
] as const;

const stopping = new AbortController();
const began = Date.now();
const status = new StatusRoutes({
  account: () => ({ ...demoFleet(began), at: new Date().toISOString() }),
  clock: systemClock,
  stopping: stopping.signal,
  logger: console,
});
const server = startTestServer({ status });
const browser = await startBrowser();
await Deno.mkdir(folder, { recursive: true });
for (const { name, scheme, width, height } of PICTURES) {
  const page = await browser.newPage();
  await page.setViewport({ width, height, deviceScaleFactor: width < 400 ? 2 : 1 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(server.url);
  await page.waitForSelector('[data-link="live"]');
  if (Deno.args.includes("--whole")) await page.screenshot({ path: `${folder}${name}-whole.png`, fullPage: true });
  await page.screenshot({ path: `${folder}${name}.png` });
  await page.close();
}
await browser.close();
stopping.abort();
await server[Symbol.asyncDispose]();
