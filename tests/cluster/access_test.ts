/** Every kind of credentials, against a real API server. @module */

import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { createServer } from "node:http";
import { connect as connectTcp } from "node:net";
import { connectKubernetes, type ConnectOptions, missingPermissions } from "../../src/kubernetes/client.ts";
import { Leases, requiredPermissions, watchPermissions } from "../../src/stores/lease/leases.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { FaultProxy } from "../support/fault_proxy.ts";
import { clusterTest, LEASE_RULES, useControlPlane } from "../support/control_plane.ts";

const plane = useControlPlane();

/** Reads a Lease. Throws if that fails. */
async function tryAccess(options: ConnectOptions): Promise<void> {
  await using client = await connectKubernetes(options);
  equal(await new Leases(client).get("none"), undefined);
}

const KUBECONFIGS: Record<string, () => Promise<string>> = {
  async "a token"() {
    return await plane().writeKubeconfig({ token: plane().adminToken });
  },
  async "a client certificate"() {
    const { cert, key } = await plane().createCertificate("bob", "system:masters");
    return await plane().writeKubeconfig({ "client-certificate-data": btoa(cert), "client-key-data": btoa(key) });
  },
  async "a client certificate and an authority in files beside it"() {
    const { cert, key } = await plane().createCertificate("bob", "system:masters");
    const name = crypto.randomUUID();
    await Deno.writeTextFile(`${plane().folder}/${name}.crt`, cert);
    await Deno.writeTextFile(`${plane().folder}/${name}.key`, key);
    await Deno.writeTextFile(`${plane().folder}/${name}.ca`, plane().ca);
    return await plane().writeKubeconfig(
      { "client-certificate": `${name}.crt`, "client-key": `${name}.key` },
      { "certificate-authority-data": undefined, "certificate-authority": `${name}.ca` },
    );
  },
  async "a token file beside it"() {
    await Deno.writeTextFile(`${plane().folder}/token`, plane().adminToken + "\n");
    return await plane().writeKubeconfig({ tokenFile: "token" });
  },
  async "an exec plugin that provides a token"() {
    return await plane().writeKubeconfig({ exec: await plugin({ token: plane().adminToken }) });
  },
  async "an exec plugin that provides a client certificate"() {
    const { cert, key } = await plane().createCertificate("bob", "system:masters");
    const exec = await plugin({ clientCertificateData: cert, clientKeyData: key });
    return await plane().writeKubeconfig({ exec });
  },
  async "insecure-skip-tls-verify, and no authority"() {
    return await plane().writeKubeconfig({ token: plane().adminToken }, {
      "certificate-authority-data": undefined,
      "insecure-skip-tls-verify": true,
    });
  },
  async "a tls-server-name, at another host name"() {
    return await plane().writeKubeconfig({ token: plane().adminToken }, {
      server: `https://localhost:${plane().port}`,
      "tls-server-name": "kubernetes.default.svc",
    });
  },
};
for (const [name, write] of Object.entries(KUBECONFIGS)) {
  clusterTest(`a kubeconfig may have ${name}`, async () => tryAccess({ kubeconfig: await write() }));
}

clusterTest("a kubeconfig may have a proxy-url", async () => {
  const tunnels: string[] = [];
  const proxy = createServer().on("connect", (request, socket) => {
    tunnels.push(request.url!);
    const target = connectTcp(plane().port, "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      target.pipe(socket).pipe(target);
    });
    for (const side of [target, socket]) side.on("error", () => {});
    target.on("close", () => socket.destroy());
    socket.on("close", () => target.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const port = (proxy.address() as { port: number }).port;
  await tryAccess({
    kubeconfig: await plane().writeKubeconfig({ token: plane().adminToken }, {
      "proxy-url": `http://127.0.0.1:${port}`,
    }),
  });
  await new Promise((resolve) => proxy.close(resolve));
  deepEqual(tunnels, [`127.0.0.1:${plane().port}`]);
});

for (
  const [name, cluster] of [
    ["insecure-skip-tls-verify", { "certificate-authority-data": undefined, "insecure-skip-tls-verify": true }],
    ["tls-server-name", { "tls-server-name": "kubernetes.default.svc" }],
  ] as const
) {
  clusterTest(
    `with ${name}, one call on a silent connection fails at its deadline, and the next uses a new connection`,
    async () => {
      await using proxy = new FaultProxy(plane().port);
      const server = `https://localhost:${proxy.port}`;
      const kubeconfig = await plane().writeKubeconfig({ token: plane().adminToken }, { server, ...cluster });
      await using client = await connectKubernetes({ kubeconfig, timeoutMs: 1_000 });
      const leases = new Leases(client);
      equal(await leases.get("none"), undefined);
      proxy.silence();
      await rejects(leases.get("none"), /did not answer within 1000 ms/);
      equal(await leases.get("none"), undefined);
    },
  );
}

clusterTest("a certificate without the tls-server-name is refused", async () => {
  const kubeconfig = await plane().writeKubeconfig({ token: plane().adminToken }, {
    "tls-server-name": "elsewhere.example",
  });
  await rejects(tryAccess({ kubeconfig }), UnavailableError);
});

clusterTest("a pod's service account works, and its namespace is the default", async () => {
  const { folder, namespace } = await serviceAccount();
  await using client = await connectKubernetes(inPod(folder));
  equal(client.namespace, namespace);
  equal(await new Leases(client).get("none"), undefined);
});

clusterTest("a token that was replaced is read again when the old one is refused", async () => {
  const { folder, token } = await serviceAccount();
  await Deno.writeTextFile(`${folder}/token`, "worn-out");
  await using client = await connectKubernetes(inPod(folder));
  const leases = new Leases(client);
  await Deno.writeTextFile(`${folder}/token`, token);
  equal(await leases.get("none"), undefined);
});

clusterTest("a token that is refused again and again is a fault that says so", async () => {
  const { folder } = await serviceAccount();
  await Deno.writeTextFile(`${folder}/token`, "wrong");
  await using client = await connectKubernetes(inPod(folder));
  await rejects(new Leases(client).get("none"), (error) => {
    ok(error instanceof UnavailableError);
    match(error.message, /does not accept our credentials/);
    return true;
  });
});

clusterTest("a server whose certificate the authority did not sign is refused", async () => {
  const kubeconfig = await plane().writeKubeconfig({ token: plane().adminToken }, {
    "certificate-authority-data": undefined,
  });
  await rejects(tryAccess({ kubeconfig }), (error) => {
    ok(error instanceof UnavailableError);
    match(error.message, /invalid peer certificate/);
    return true;
  });
});

clusterTest("the query of missing permissions finds what a Role lacks", async () => {
  const { folder, namespace } = await serviceAccount();
  await using client = await connectKubernetes(inPod(folder));
  deepEqual(await missingPermissions(client, requiredPermissions(namespace)), []);
  const optional = watchPermissions(namespace);
  deepEqual(await missingPermissions(client, [...requiredPermissions(namespace), ...optional]), optional);
});

function inPod(serviceAccountFolder: string): ConnectOptions {
  return { serviceHost: "127.0.0.1", servicePort: String(plane().port), serviceAccountFolder };
}

async function serviceAccount(): Promise<{ folder: string; namespace: string; token: string }> {
  const namespace = await plane().createNamespace();
  const token = await plane().createUser(namespace, LEASE_RULES);
  const folder = await Deno.makeTempDir({ dir: plane().folder });
  await Deno.writeTextFile(`${folder}/token`, token);
  await Deno.writeTextFile(`${folder}/namespace`, namespace);
  await Deno.writeTextFile(`${folder}/ca.crt`, plane().ca);
  return { folder, namespace, token };
}

function execOf(script: string): unknown {
  return {
    apiVersion: "client.authentication.k8s.io/v1",
    command: "sh",
    args: ["-c", script],
    interactiveMode: "Never",
  };
}

/** An exec plugin that provides these credentials. */
async function plugin(status: Record<string, string>): Promise<unknown> {
  const path = `${plane().folder}/${crypto.randomUUID()}.json`;
  const credential = { apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential", status };
  await Deno.writeTextFile(path, JSON.stringify(credential));
  return execOf(`cat '${path}'`);
}
