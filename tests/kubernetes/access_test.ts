/** Access to a cluster, without a cluster: what is read, and every way in which it can be wrong. @module */

import { deepEqual, doesNotMatch, equal, match, notEqual, ok, rejects } from "node:assert/strict";
import { podAccess, RotatingFile } from "../../src/kubernetes/access.ts";
import { connectKubernetes } from "../../src/kubernetes/client.ts";
import { ConfigError } from "../../src/config/config_error.ts";
import { until } from "../support/condition.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { kubeconfigAccess } from "../../src/kubernetes/kubeconfig.ts";

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function test(name: string, run: (folder: string) => Promise<void>): void {
  Deno.test(name, () => withFolder(run));
}

/** A kubeconfig with one of everything; the parts may be replaced. */
function kubeconfig(user: unknown, cluster: Record<string, unknown> = {}, rest: Record<string, unknown> = {}): string {
  return JSON.stringify({
    clusters: [{ name: "c", cluster: { server: "https://127.0.0.1:1/", ...cluster } }],
    users: [{ name: "u", user }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
    ...rest,
  });
}

const UNUSABLE: { name: string; text: string | undefined; says: RegExp }[] = [
  { name: "that does not exist", text: undefined, says: /^Cannot read the kubeconfig at .*the file does not exist/ },
  { name: "that is empty", text: "", says: /cannot be used: .*the input is empty/ },
  {
    name: "that is not YAML",
    text: "token: secret\na: [\n",
    says: /cannot be used: [a-z ]+ in line 3; check it with "kubectl config view"$/,
  },
  { name: "that is a number", text: "7", says: /cannot be used: it is not a YAML object/ },
  { name: "that is a list", text: "[]", says: /no current context/ },
  {
    name: "without a current context",
    text: kubeconfig({}, {}, { "current-context": "" }),
    says: /no current context/,
  },
  {
    name: "that lacks its current context",
    text: kubeconfig({}, {}, { "current-context": "y" }),
    says: /does not have the context of its current context "y"/,
  },
  { name: "without the context's cluster", text: kubeconfig({}, {}, { clusters: [] }), says: /the cluster "c"/ },
  { name: "without the context's user", text: kubeconfig({}, {}, { users: [] }), says: /the user "u"/ },
  { name: "without a server", text: kubeconfig({}, { server: undefined }), says: /server is missing/ },
  {
    name: "with a server that is not a URL",
    text: kubeconfig({}, { server: "somewhere" }),
    says: /^There is an invalid server URL in the cluster "c"/,
  },
  {
    name: "with a proxy of an unknown kind",
    text: kubeconfig({}, { "proxy-url": "ftp://a" }),
    says: /only http, https and socks5 proxies are supported/,
  },
  {
    name: "with a proxy and insecure-skip-tls-verify",
    text: kubeconfig({}, { "proxy-url": "http://a", "insecure-skip-tls-verify": true }),
    says: /not supported: set the cluster's certificate-authority/,
  },
  {
    name: "with an authority that is not a certificate",
    text: kubeconfig({}, { "certificate-authority-data": btoa("no PEM") }),
    says: /^The certificates for the API server cannot be used: the authority's certificate is not in PEM format/,
  },
  {
    name: "with a malformed client certificate",
    text: kubeconfig({ "client-certificate-data": btoa("no PEM"), "client-key-data": btoa("no PEM") }),
    says: /^The certificates for the API server cannot be used/,
  },
  {
    name: "with an authority's file that does not exist",
    text: kubeconfig({}, { "certificate-authority": "none.crt" }),
    says: /cannot be used: .*none\.crt/,
  },
  {
    name: "with a token file that does not exist",
    text: kubeconfig({ tokenFile: "none" }),
    says: /^Cannot read the token at .*none: the file does not exist/,
  },
  {
    name: "whose plugin does not exist",
    text: kubeconfig({ exec: { command: "no-such-plugin" } }),
    says: /from the command "no-such-plugin", which failed/,
  },
  {
    name: "whose plugin fails",
    text: kubeconfig({ exec: { command: "sh", args: ["-c", "echo log in first >&2; exit 1"] } }),
    says: /from the command "sh", which failed: log in first/,
  },
  {
    name: "whose plugin does not print JSON",
    text: kubeconfig({ exec: { command: "sh", args: ["-c", "echo secret"] } }),
    says: /from the command "sh", which did not print JSON/,
  },
];
for (const { name, text, says } of UNUSABLE) {
  test(`a kubeconfig ${name} is refused with an error that explains it`, async (folder) => {
    const path = `${folder}/config`;
    if (text !== undefined) await Deno.writeTextFile(path, text);
    await rejects(connectAndClose(path), (error) => {
      ok(error instanceof ConfigError, String(error));
      match(error.message, says);
      doesNotMatch(Deno.inspect(error), /secret/, "errors are logged");
      return true;
    });
  });
}

async function connectAndClose(kubeconfig: string): Promise<void> {
  await using _client = await connectKubernetes({ kubeconfig });
}

Deno.test({
  name: "an exec plugin that Deno may not run is refused with an error that names it",
  permissions: { read: true, write: true, env: true, sys: true, run: ["no-such-program"] },
  fn: () =>
    withFolder(async (folder) => {
      const path = `${folder}/config`;
      await Deno.writeTextFile(path, kubeconfig({ exec: { command: "sh", args: [] } }));
      await rejects(connectAndClose(path), (error) => {
        ok(error instanceof ConfigError);
        match(error.message, /the permission to run it \(--allow-run=sh\)/);
        return true;
      });
    }),
});

test("several kubeconfigs are merged, and the first to name something wins", async (folder) => {
  await Deno.writeTextFile(`${folder}/a`, kubeconfig({}, {}, { clusters: [], users: [] }));
  await Deno.writeTextFile(
    `${folder}/b`,
    kubeconfig({ token: "t" }, {}, { contexts: [], "current-context": "elsewhere" }),
  );
  const access = await kubeconfigAccess(`${folder}/a:${folder}/b`);
  equal(access.server, "https://127.0.0.1:1");
  deepEqual((await access.credentials(false)).headers, { authorization: "Bearer t" });
});

test("a user name and password, and an impersonated user, become headers", async (folder) => {
  await Deno.writeTextFile(`${folder}/a`, kubeconfig({ username: "me", password: "secret", as: "other" }));
  const { headers } = await (await kubeconfigAccess(`${folder}/a`)).credentials(false);
  deepEqual(headers, { authorization: `Basic ${btoa("me:secret")}`, "impersonate-user": "other" });
});

test("a plain http server, as of kubectl proxy, is accepted", async (folder) => {
  await Deno.writeTextFile(`${folder}/a`, kubeconfig({}, { server: "http://127.0.0.1:8001" }));
  const access = await kubeconfigAccess(`${folder}/a`);
  equal(access.server, "http://127.0.0.1:8001");
  await access.credentials(false);
});

test("an exec plugin runs once, and again when its credentials are refused", async (folder) => {
  const path = `${folder}/a`;
  const script = `printf '{"status":{"token":"%s"}}' "$(cat '${folder}/token')"`;
  await Deno.writeTextFile(path, kubeconfig({ exec: { command: "sh", args: ["-c", script] } }));
  const access = await kubeconfigAccess(path, { reloadMs: 0 });
  const token = async (refused: boolean) => (await access.credentials(refused)).headers.authorization;
  await Deno.writeTextFile(`${folder}/token`, "one");
  equal(await token(false), "Bearer one");
  await Deno.writeTextFile(`${folder}/token`, "two");
  equal(await token(false), "Bearer one");
  equal(await token(true), "Bearer two");
});

test("a call gives up on an exec plugin that hangs, and a later call waits for the same run", async (folder) => {
  const path = `${folder}/a`;
  const script = `echo >> '${folder}/runs'; until [ -e '${folder}/go' ]; do sleep 0.02; done; ` +
    `printf '{"status":{"token":"late"}}'`;
  await Deno.writeTextFile(path, kubeconfig({ exec: { command: "sh", args: ["-c", script] } }));
  const access = await kubeconfigAccess(path, { reloadMs: 0, pluginTimeoutMs: 300 });
  await rejects(access.credentials(false), (error) => {
    ok(error instanceof ConfigError);
    match(error.message, /from the command "sh", which did not end within 0\.3 s: run it by hand/);
    return true;
  });
  await Deno.writeTextFile(`${folder}/go`, "");
  const { headers } = await until(() => access.credentials(false).catch(() => undefined));
  equal(headers.authorization, "Bearer late");
  equal(await Deno.readTextFile(`${folder}/runs`), "\n");
});

test("connections are reused until the certificates change", async (folder) => {
  const path = `${folder}/a`;
  await Deno.writeTextFile(path, kubeconfig({ token: "one" }));
  const access = await kubeconfigAccess(path, { reloadMs: 0 });
  const first = await access.credentials(false);
  equal((await access.credentials(true)).tls, first.tls);
  await Deno.writeTextFile(path, kubeconfig({ "client-certificate-data": btoa("c"), "client-key-data": btoa("k") }));
  const second = await access.credentials(true);
  notEqual(second.tls, first.tls);
  equal(second.tls.cert, "c");
});

for (const missing of ["token", "ca.crt"]) {
  test(`a pod without the file ${missing} is refused with an error that explains it`, async (folder) => {
    for (const file of ["token", "ca.crt"]) if (file !== missing) await Deno.writeTextFile(`${folder}/${file}`, "x");
    await rejects(podAccess("10.0.0.1", "443", folder), (error) => {
      ok(error instanceof ConfigError);
      match(error.message, new RegExp(`${missing}: the file does not exist; .*its service account is mounted`));
      return true;
    });
  });
}

test("a pod's token and authority are read again after a refusal", async (folder) => {
  const write = (file: string, text: string) => Deno.writeTextFile(`${folder}/${file}`, text);
  await write("token", "one");
  await write("ca.crt", "first");
  const access = await podAccess("10.0.0.1", "443", folder);
  const { tls } = await access.credentials(false);
  await write("token", "two");
  equal((await access.credentials(false)).headers.authorization, "Bearer one");
  const refused = await access.credentials(true);
  equal(refused.headers.authorization, "Bearer two");
  equal(refused.tls, tls, "connections are kept");
  await write("ca.crt", "second");
  equal((await access.credentials(true)).tls.ca, "second");
});

test("a token is read again when it is a minute old, without being refused", async (folder) => {
  const path = `${folder}/token`;
  await Deno.writeTextFile(path, "one");
  const clock = new FakeClock();
  const old = new RotatingFile(path, "token", clock);
  equal(await old.read(false), "one");
  await clock.advance(59_999);
  const young = new RotatingFile(path, "token", clock);
  equal(await young.read(false), "one");
  await Deno.writeTextFile(path, "two");
  equal(await old.read(false), "one");
  await clock.advance(1);
  equal(await old.read(false), "two");
  equal(await young.read(false), "one");
});

const HOSTS: [string, string | undefined, string][] = [
  ["10.0.0.1", "6443", "https://10.0.0.1:6443"],
  ["fd00::1", "443", "https://[fd00::1]:443"],
  ["[fd00::1]", "443", "https://[fd00::1]:443"],
  ["kubernetes.default.svc", undefined, "https://kubernetes.default.svc:443"],
];
for (const [host, port, server] of HOSTS) {
  test(`a pod whose API server is ${host} calls ${server}`, async (folder) => {
    for (const file of ["token", "ca.crt"]) await Deno.writeTextFile(`${folder}/${file}`, "x");
    equal((await podAccess(host, port, folder)).server, server);
  });
}

test("without any cluster, the error says what to set", async () => {
  await rejects(connectKubernetes(), (error) => {
    ok(error instanceof ConfigError);
    match(error.message, /set KUBECONFIG/);
    return true;
  });
});
