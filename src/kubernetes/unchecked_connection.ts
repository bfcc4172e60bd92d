/**
 * Connections that do not check the server's certificate, or that expect
 * another name in it. A kubeconfig may ask for either, and Deno's own fetch
 * cannot do it for a single client. They use HTTP/1.1 and are slower, so this
 * module is imported only where it is needed.
 *
 * @module
 */

import { Agent, request } from "node:https";
import { Readable } from "node:stream";
import type { ConnectionOptions, Connections } from "./access.ts";

/** Prepares connections as `tls` says. Connects at the first call. */
export function openUnchecked(tls: ConnectionOptions): Connections {
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
        const headers: Record<string, string | string[]> = {};
        // A name that comes more than once is a list, which is sent as one line a value.
        for (const [name, value] of init.headers) {
          headers[name] = Object.hasOwn(headers, name) ? [headers[name]!, value].flat() : value;
        }
        const { signal } = init;
        // The `signal` option does not end a call on a kept connection that has gone silent (Deno 2.9.6).
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
