/** The requests that calls become: their headers and URLs, of every kind of call. @module */

import { deepEqual, rejects } from "node:assert/strict";
import { connectKubernetes, missingPermissions } from "../../src/kubernetes/client.ts";
import { json } from "../support/fake_api_server.ts";
import { kubeconfig, withFolder } from "../support/kubeconfigs.ts";

Deno.test("every kind of call is sent with every impersonation header, one line a value", async () => {
  const requests: string[] = [];
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    for await (const connection of listener) {
      const bytes = new Uint8Array(8192);
      requests.push(new TextDecoder().decode(bytes.subarray(0, await connection.read(bytes) ?? 0)));
      await connection.write(new TextEncoder().encode("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"));
      connection.close();
    }
  })();
  const user = { token: "t", as: "jörg", "as-uid": "7", "as-groups": ["a", "b"], "as-user-extra": { k: ["x", "y"] } };
  await withFolder(async (folder) => {
    const server = `http://127.0.0.1:${listener.addr.port}`;
    await Deno.writeTextFile(`${folder}/config`, kubeconfig(user, { server }));
    await using client = await connectKubernetes({ kubeconfig: `${folder}/config` });
    const { apis } = client;
    const lease = { namespace: "ns", name: "a", body: {} };
    for (
      const call of [
        () => client.get("/x"),
        () => client.stream("/x"),
        () => apis.core.listPodForAllNamespaces(),
        () => apis.coordination.createNamespacedLease(lease),
        () => apis.coordination.replaceNamespacedLease(lease),
        () => apis.core.createNamespacedPodEviction(lease),
        () => missingPermissions(client, [{ verb: "get", group: "", resource: "nodes" }]),
      ]
    ) {
      await rejects(call);
      const lines = requests.splice(0).at(-1)!.split("\r\n").filter((line) =>
        /^(impersonate|authorization)/i.test(line)
      );
      deepEqual(lines.map((line) => line.toLowerCase()).sort(), [
        "authorization: bearer t",
        "impersonate-extra-k: x",
        "impersonate-extra-k: y",
        "impersonate-group: a",
        "impersonate-group: b",
        "impersonate-uid: 7",
        "impersonate-user: jörg",
      ]);
    }
  });
  listener.close();
  await serving;
});

for (
  const [suffix, base] of [["", ""], ["/", ""], ["//", ""], ["/clusters/c-1", "/clusters/c-1"], ["//a//b//", "/a/b"]]
) {
  Deno.test(`every kind of call works where the server URL ends in ${JSON.stringify(suffix)}`, async () => {
    const lease = {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name: "a", namespace: "ns", resourceVersion: "1" },
    };
    const api = `${base}/apis/coordination.k8s.io/v1/namespaces/ns/leases`;
    const requests: string[] = [];
    const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
      const { pathname, search } = new URL(request.url);
      requests.push(`${request.method} ${pathname}${search}`);
      return json(lease);
    });
    await withFolder(async (folder) => {
      const url = `http://127.0.0.1:${server.addr.port}${suffix}`;
      await Deno.writeTextFile(`${folder}/config`, kubeconfig({}, { server: url }));
      await using client = await connectKubernetes({ kubeconfig: `${folder}/config` });
      const { coordination } = client.apis;
      await client.get("/version");
      await using _stream = await client.stream("/api/v1/nodes?watch=true");
      const named = { namespace: "ns", name: "a", body: { metadata: { name: "a" } } };
      await coordination.readNamespacedLease(named);
      await coordination.createNamespacedLease(named);
      await coordination.replaceNamespacedLease(named);
    });
    await server.shutdown();
    deepEqual(requests, [
      `GET ${base}/version`,
      `GET ${base}/api/v1/nodes?watch=true`,
      `GET ${api}/a`,
      `POST ${api}`,
      `PUT ${api}/a`,
    ]);
  });
}
