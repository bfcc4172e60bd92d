/** Every kind of credentials, against a real API server. @module */

import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { createServer } from "node:http";
import { connect as connectTcp } from "node:net";
import { connectKubernetes, type ConnectOptions, missingPermissions } from "../../src/kubernetes/client.ts";
import { Leases, requiredPermissions, watchPermissions } from "../../src/stores/lease/leases.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { clusterTest, LEASE_RULES, useControlPlane } from "../support/control_plane.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { FaultProxy } from "../support/fault_proxy.ts";
import { startReplicas } from "../support/replicas.ts";
import { preReboot, steadyState } from "../support/zincati.ts";

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

const ALICE = "c988d2509fdf5cdcbed39037c56406fb";
const BOB = "049ad0f57ade4723a48692b7b692c318";

/** Runs a whole server, which makes every kind of call: it must be ready, and give and take a lock. */
async function tryService(kubeconfig: string, namespace?: string): Promise<void> {
  await using all = await startReplicas(plane(), { kubeconfig, namespace, flags: { drain: "false" } });
  const [url] = all.urls;
  equal((await preReboot(url, ALICE)).status, 200);
  equal((await all.lease()).spec.holderIdentity, ALICE);
  // The second time it knows this from the watch, if it may watch.
  for (let n = 0; n < 2; n++) equal((await preReboot(url, BOB)).kind, "lock_held");
  equal((await steadyState(url, ALICE)).status, 200);
}

/** Grants a group what a server needs that has no drain to do. */
async function grantToGroup(namespace: string, group: string): Promise<void> {
  const rbac = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`;
  const verbs = ["get", "list", "watch", "create", "update"];
  const rules = [{ apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs }];
  await plane().request("POST", `${rbac}/roles`, { metadata: { name: "locks" }, rules });
  await plane().request("POST", `${rbac}/rolebindings`, {
    metadata: { name: "locks" },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "locks" },
    subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "Group", name: group }],
  });
}

for (
  const [name, cluster] of [
    ["HTTP/2", {}],
    ["the connections of insecure-skip-tls-verify", {
      "certificate-authority-data": undefined,
      "insecure-skip-tls-verify": true,
    }],
  ] as const
) {
  clusterTest(`a server may act as another user in several groups, over ${name}`, async () => {
    const namespace = await plane().createNamespace();
    // The role's group comes last, so that one header with both would name neither.
    await grantToGroup(namespace, "lockers");
    const as = {
      as: "robot",
      "as-uid": "7",
      "as-groups": ["others", "lockers"],
      "as-user-extra": { "a/b": ["c", "d"] },
    };
    const kubeconfig = await plane().writeKubeconfig({ token: plane().adminToken, ...as }, cluster);
    await tryService(kubeconfig, namespace);

    await using client = await connectKubernetes({ kubeconfig });
    await rejects(client.get("/api/v1/nodes"), /User "robot" cannot list resource "nodes"/);
  });
}

for (const suffix of ["/", "//"]) {
  clusterTest(`a server whose kubeconfig has a server URL that ends in ${suffix} gives and takes locks`, async () => {
    const server = plane().server + suffix;
    await tryService(await plane().writeKubeconfig({ token: plane().adminToken }, { server }));
  });
}

clusterTest("a context without a user works behind kubectl proxy, under a path", async () => {
  const proxy = new Deno.Command("kubectl", {
    args: ["--kubeconfig", plane().kubeconfig, "proxy", "--port=0", "--api-prefix=/clusters/c-1/"],
    stdout: "piped",
    stderr: "null",
  }).spawn();
  try {
    const reader = proxy.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { value = "" } = await reader.read();
    const address = /Starting to serve on (\S+)/.exec(value)?.[1];
    const kubeconfig = `${plane().folder}/${crypto.randomUUID()}`;
    await Deno.writeTextFile(
      kubeconfig,
      JSON.stringify({
        clusters: [{ name: "c", cluster: { server: `http://${address}/clusters/c-1//` } }],
        contexts: [{ name: "x", context: { cluster: "c" } }],
        "current-context": "x",
      }),
    );
    await tryService(kubeconfig);
    await reader.cancel();
  } finally {
    proxy.kill();
    await proxy.status;
  }
});

clusterTest(
  "kubeconfigs are merged: the first to name a thing wins, and missing and empty files are ignored",
  async () => {
    const folder = await Deno.makeTempDir({ dir: plane().folder });
    await Deno.mkdir(`${folder}/sub`);
    await Deno.writeTextFile(`${folder}/sub/ca.crt`, plane().ca);
    await Deno.writeTextFile(`${folder}/sub/token`, plane().adminToken);
    await Deno.writeTextFile(`${folder}/empty`, "");
    await Deno.writeTextFile(
      `${folder}/context`,
      `users: [null]\ncontexts: [{ name: test, context: { cluster: test, user: test } }]\ncurrent-context: ""\n---\n`,
    );
    const files = { "certificate-authority-data": undefined, "certificate-authority": "ca.crt" };
    await plane().writeKubeconfig({ tokenFile: "token" }, files, `${folder}/sub/good`);
    await plane().writeKubeconfig({ token: "wrong" }, { server: "https://127.0.0.1:1" }, `${folder}/last`);
    const names = ["none", "empty", "context", "sub/good", "last"];
    await tryService(names.map((name) => `${folder}/${name}`).join(":"));
  },
);

clusterTest("a server's requests do not fail while its token file is empty", async () => {
  const { folder } = await serviceAccount();
  const clock = new FakeClock();
  await using client = await connectKubernetes({ ...inPod(folder), clock });
  const leases = new Leases(client);
  equal(await leases.get("none"), undefined);
  await Deno.writeTextFile(`${folder}/token`, "");
  await clock.advance(60_000);
  equal(await leases.get("none"), undefined);
});

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
