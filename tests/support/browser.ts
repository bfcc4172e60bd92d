/**
 * Headless Chromium for the tests and pictures of the status page.
 *
 * @module
 */

import puppeteer, { type Browser } from "puppeteer-core";

/** Where Linux distributions put Chromium. */
const PATHS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** The path of Chromium; undefined where it is not installed. */
export const CHROMIUM: string | undefined = PATHS.find((path) => {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
});

/** Starts Chromium. Its caller closes it. */
export function startBrowser(): Promise<Browser> {
  return puppeteer.launch({
    executablePath: CHROMIUM!,
    // Chromium cannot sandbox itself as root, as in a container. The pages are our own.
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en-GB", "--force-color-profile=srgb"],
    env: { ...Deno.env.toObject(), TZ: "UTC", LANGUAGE: "en_GB" },
  });
}
