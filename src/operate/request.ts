/**
 * Requests to a fleetlock server over plain `fetch`: where its paths are, and a
 * user and password out of its URL. It follows no redirects.
 *
 * @module
 */

import { oneLine } from "../kubernetes/errors.ts";
import { innermostMessage } from "../kubernetes/errors.ts";

/** Makes the URL of a path of a server, and the headers for the user and password in the server's URL. */
export function requestTo(server: URL, path: string): { url: string; headers: Record<string, string> } {
  const url = new URL(server);
  url.pathname = `${url.pathname.replace(/\/+$/, "")}${path}`;
  const { username, password } = url;
  url.username = url.password = "";
  if (username === "" && password === "") return { url: url.href, headers: {} };
  const credentials = new TextEncoder().encode(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`);
  return { url: url.href, headers: { authorization: `Basic ${btoa(String.fromCharCode(...credentials))}` } };
}

/** Says what an error of `fetch` means, in one line. */
export function describeFault(error: unknown): string {
  if (error instanceof DOMException && error.name === "TimeoutError") return "it did not answer in time";
  return oneLine(innermostMessage(error));
}
