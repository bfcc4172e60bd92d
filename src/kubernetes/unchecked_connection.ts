/**
 * A connection whose server certificate goes unchecked, or is asked for under
 * another name: what a kubeconfig may want and Deno's own fetch cannot do for
 * one client. Over HTTP/1.1, so slower; imported only where it is needed.
 *
 * @module
 */

import { Agent, request } from "node:https";
import { Readable } from "node:stream";
import type { ConnectionOptions } from "./access.ts";

/** A subset of `fetch` over a pool of connections. */
export interface UncheckedConnection {
  /** Like `fetch`, with a string as body. */
  fetch(url: string, init: RequestInit): Promise<Response>;
  /** Ends all connections. */
  close(): void;
}

/** Opens a pool. */
export function openUnchecked(tls: ConnectionOptions): UncheckedConnection {
  const agent = new Agent({
    keepAlive: true,
    ca: tls.ca,
    cert: tls.cert,
    key: tls.key,
    servername: tls.serverName,
    rejectUnauthorized: !tls.insecure,
  });
  return {
    fetch: (url, init) =>
      new Promise((resolve, reject) => {
        const headers = Object.fromEntries(new Headers(init.headers));
        const { signal } = init;
        // The option of that name ends no call on a kept connection that has gone silent (Deno 2.9.6).
        const abort = () => {
          reject(signal?.reason);
          call.destroy();
        };
        if (signal?.aborted) return reject(signal.reason);
        signal?.addEventListener("abort", abort, { once: true });
        const call = request(
          url,
          { agent, method: init.method, headers },
          (answer) => {
            const status = answer.statusCode ?? 500;
            const found = new Headers();
            for (const [name, value] of Object.entries(answer.headers)) {
              if (value !== undefined) found.set(name, String(value));
            }
            const body = status === 204 || status === 304 ? null : Readable.toWeb(answer) as ReadableStream<Uint8Array>;
            if (body === null) answer.resume();
            resolve(new Response(body as ReadableStream<Uint8Array<ArrayBuffer>> | null, { status, headers: found }));
          },
        );
        call.on("error", reject);
        call.on("close", () => signal?.removeEventListener("abort", abort));
        call.end(init.body as string | undefined);
      }),
    close: () => agent.destroy(),
  };
}
