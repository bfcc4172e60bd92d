/**
 * Answers for people who look at the state: the page at `/`, its JSON at
 * `/status.json`, and its changes at `/events`. It only reads. The handler keeps
 * requests of the protocol away from it.
 *
 * @module
 */

import type { Account } from "../status/account.ts";
import elements from "./page/elements.js" with { type: "text" };
import group from "./page/group.js" with { type: "text" };
import style from "./page/page.css" with { type: "text" };
import html from "./page/page.html" with { type: "text" };
import page from "./page/page.js" with { type: "text" };
import times from "./page/times.js" with { type: "text" };
import words from "./page/words.js" with { type: "text" };
import { textReply } from "./reply.ts";
import { StatusStreams, type StatusStreamsOptions } from "./status_streams.ts";

/** What the browser must not do with the answers. */
const HEADERS: Readonly<Record<string, string>> = {
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
};

/** See the module. Each method makes one reply. */
export class StatusRoutes {
  readonly #account: () => Account;
  readonly #streams: StatusStreams;
  #page: Promise<Response> | undefined;

  /** Makes them over an account that is made for each request. */
  constructor(options: StatusStreamsOptions) {
    this.#account = options.account;
    this.#streams = new StatusStreams(options);
  }

  /** The page. It is put together at the first request. */
  async page(): Promise<Response> {
    this.#page ??= buildPage();
    return (await this.#page).clone();
  }

  /** The account, as JSON. */
  json(): Response {
    return withHeaders(textReply(`${JSON.stringify(this.#account())}\n`, "application/json"), HEADERS);
  }

  /**
   * A stream of events; undefined where too many are open. A request for the headers alone opens none.
   */
  events(method: string): Response | undefined {
    const body = method === "HEAD" ? null : this.#streams.connect();
    if (body === undefined) return undefined;
    const reply = textReply(body, "text/event-stream; charset=utf-8");
    // A proxy must pass on each event at once. Deno would compress the stream, and hold events back.
    return withHeaders(reply, { ...HEADERS, "cache-control": "no-store, no-transform", "x-accel-buffering": "no" });
  }
}

/** Puts the page's style and script into it, and allows exactly those two by their hashes. */
async function buildPage(): Promise<Response> {
  const script = [elements, times, words, group, page].map(withoutModules).join("");
  const body = html.replace("/* style */", () => style).replace("/* script */", () => script);
  const policy = [
    "default-src 'none'",
    `script-src ${await hashIn(body, "script")}`,
    `style-src ${await hashIn(body, "style")}`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ].join("; ");
  return withHeaders(textReply(body, "text/html; charset=utf-8"), { ...HEADERS, "content-security-policy": policy });
}

/** Makes a part of one script of a module, so that the page needs no further request. */
function withoutModules(source: string): string {
  return source.replace(/^import [^;]*;\n/gm, "").replace(/^export /gm, "");
}

/** The hash of what stands in an element of the page, as a policy names it. */
async function hashIn(body: string, element: string): Promise<string> {
  const text = new RegExp(`<${element}[^>]*>([^]*?)</${element}>`).exec(body)![1]!;
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return `'sha256-${btoa(String.fromCharCode(...new Uint8Array(digest)))}'`;
}

function withHeaders(response: Response, headers: Readonly<Record<string, string>>): Response {
  for (const [name, value] of Object.entries(headers)) response.headers.set(name, value);
  return response;
}
