/**
 * An HTTP server that stands in for an API server, for answers that a real one
 * gives too seldom. It uses plain HTTP.
 *
 * @module
 */

import { connectKubernetes, type ConnectOptions, type KubernetesClient } from "../../src/kubernetes/client.ts";

/** A running fake with a client connected to it. */
export interface FakeApiServer extends AsyncDisposable {
  /** A client that is connected to it and disposed of with it. */
  readonly client: KubernetesClient;
  /** Every request so far, such as "GET /api/v1/nodes?watch=1". */
  readonly requests: string[];
}

/** Starts a fake that answers with `handle`. If `clientServer` is given, the client calls that instead. */
export async function fakeApiServer(
  handle: (request: Request, count: number) => Response | Promise<Response>,
  options: ConnectOptions = {},
  clientServer?: string,
): Promise<FakeApiServer> {
  const requests: string[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    const { pathname, search } = new URL(request.url);
    requests.push(`${request.method} ${pathname}${search}`);
    return handle(request, requests.length);
  });
  const path = await Deno.makeTempFile({ suffix: ".kubeconfig" });
  await Deno.writeTextFile(
    path,
    JSON.stringify({
      clusters: [{ name: "c", cluster: { server: clientServer ?? `http://127.0.0.1:${server.addr.port}` } }],
      users: [{ name: "u", user: { token: "t" } }],
      contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
      "current-context": "x",
    }),
  );
  const client = await connectKubernetes({ kubeconfig: path, ...options });
  await Deno.remove(path);
  return {
    client,
    requests,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await server.shutdown();
    },
  };
}

/** Makes an answer in JSON. */
export function json(body: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json", ...headers } });
}

/** Makes an answer with the API's Status object. */
export function status(code: number, fields: Record<string, unknown> = {}, headers?: Record<string, string>): Response {
  return json({ kind: "Status", apiVersion: "v1", status: "Failure", code, ...fields }, code, headers);
}
