/** Access to a cluster, without a cluster: exec plugins, and a pod's service account. @module */

import { equal, match, notEqual, ok, rejects } from "node:assert/strict";
import { podAccess } from "../../src/kubernetes/access.ts";
import { connectKubernetes } from "../../src/kubernetes/client.ts";
import { ConfigError } from "../../src/config/config_error.ts";
import { until } from "../support/condition.ts";
import { kubeconfigAccess } from "../../src/kubernetes/kubeconfig.ts";
import { folderTest, kubeconfig } from "../support/kubeconfigs.ts";

folderTest("an exec plugin runs once, and again when its credentials are refused", async (folder) => {
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

folderTest("an exec plugin gets KUBERNETES_EXEC_INFO, its own variables and ours", async (folder) => {
  const script =
    `test -n "$PATH" && printf '{"status":{"token":"%s %s"}}' "$MINE" "$(echo "$KUBERNETES_EXEC_INFO" | tr -d '"')"`;
  const apiVersion = "client.authentication.k8s.io/v1";
  const exec = { apiVersion, command: "sh", args: ["-c", script], env: [{ name: "MINE", value: "mine" }] };
  await Deno.writeTextFile(`${folder}/a`, kubeconfig({ exec }));
  const { headers } = await (await kubeconfigAccess(`${folder}/a`)).credentials(false);
  equal(
    headers.authorization,
    `Bearer mine {kind:ExecCredential,apiVersion:${apiVersion},spec:{interactive:false}}`,
  );
});

folderTest("a call gives up on an exec plugin that hangs, and a later call waits for the same run", async (folder) => {
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

folderTest("connections are reused until the certificates change", async (folder) => {
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
  folderTest(`a pod without the file ${missing} is refused with an error that explains it`, async (folder) => {
    for (const file of ["token", "ca.crt"]) if (file !== missing) await Deno.writeTextFile(`${folder}/${file}`, "x");
    await rejects(podAccess("10.0.0.1", "443", folder), (error) => {
      ok(error instanceof ConfigError);
      match(error.message, new RegExp(`${missing}: the file does not exist; .*service account is mounted$`));
      return true;
    });
  });
}

folderTest("a pod's token and authority are read again after a refusal", async (folder) => {
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

const HOSTS: [string, string | undefined, string][] = [
  ["10.0.0.1", "6443", "https://10.0.0.1:6443"],
  ["fd00::1", "443", "https://[fd00::1]:443"],
  ["[fd00::1]", "443", "https://[fd00::1]:443"],
  ["kubernetes.default.svc", undefined, "https://kubernetes.default.svc:443"],
];
for (const [host, port, server] of HOSTS) {
  folderTest(`a pod whose API server is ${host} calls ${server}`, async (folder) => {
    for (const file of ["token", "ca.crt"]) await Deno.writeTextFile(`${folder}/${file}`, "x");
    equal((await podAccess(host, port, folder)).server, server);
  });
}

folderTest("without any cluster, the error says what to set", async () => {
  await rejects(connectKubernetes(), (error) => {
    ok(error instanceof ConfigError);
    match(error.message, /set KUBECONFIG/);
    return true;
  });
});
