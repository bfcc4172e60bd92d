/** Kubeconfigs as kubectl takes them, tried side by side with it: what is read from them, without a cluster. @module */

import { deepEqual, equal } from "node:assert/strict";
import { kubeconfigAccess } from "../../src/kubernetes/kubeconfig.ts";
import { folderTest, kubeconfig } from "../support/kubeconfigs.ts";

/** One of everything, as YAML text. */
const YAML = `
clusters: [{ name: c, cluster: { server: "https://127.0.0.1:1" } }]
users: [{ name: u, user: { token: t } }]
contexts: [{ name: x, context: { cluster: c, user: u } }]
current-context: x
`;
const GOOD: Readonly<Record<string, string>> = {
  "ends with ---": `${YAML}---\n`,
  "begins with ---": `---${YAML}`,
  "begins with a comment and a directive": `# by hand\n%YAML 1.2\n---${YAML}`,
  "ends with ...": `${YAML}...\n`,
  "has a second document": `${YAML}---\ncurrent-context: y\n`,
  "has a second document that is not YAML": `${YAML}---\n[a: {\n`,
  "begins with a byte order mark": `\ufeff${YAML.trim()}`,
  "has a key twice, whose last value counts": `current-context: y${YAML}`,
  "has a merge key": YAML.replace("{ token: t }", "{ <<: { token: t } }"),
  "has entries that are null": kubeconfig({}, {}, {
    clusters: [null, { name: "c", cluster: { server: "https://127.0.0.1:1" } }],
    users: [null, null, { name: "u", user: { token: "t" } }],
    contexts: [null, { name: "x", context: { cluster: "c", user: "u" } }],
  }),
  "has entries without a name": kubeconfig({}, {}, {
    users: [{ user: { token: "other" } }, { name: "u", user: { token: "t" } }],
  }),
  "has other entries that lack something": kubeconfig({}, {}, {
    clusters: [{ name: "d", cluster: {} }, { name: "e" }, { name: "c", cluster: { server: "https://127.0.0.1:1" } }],
    users: [{ name: "v" }, { name: "w", user: { token: 7 } }, { name: "u", user: { token: "t" } }],
    contexts: [{ name: "y", context: {} }, { name: "x", context: { cluster: "c", user: "u" } }],
  }),
  "has empty and null fields": kubeconfig(
    { token: "t", tokenFile: "", as: "", "as-groups": null, "as-user-extra": null, username: null },
    { "proxy-url": "", "insecure-skip-tls-verify": null, "certificate-authority": "" },
  ),
};
for (const [name, text] of Object.entries(GOOD)) {
  folderTest(`a kubeconfig that ${name} is read as kubectl does`, async (folder) => {
    await Deno.writeTextFile(`${folder}/a`, text);
    const access = await kubeconfigAccess(`${folder}/a`);
    equal(access.server, "https://127.0.0.1:1");
    deepEqual((await access.credentials(false)).headers, { authorization: "Bearer t" });
  });
}

folderTest("insecure-skip-tls-verify may be yes, as for kubectl", async (folder) => {
  await Deno.writeTextFile(`${folder}/a`, YAML.replace("server:", "insecure-skip-tls-verify: yes, server:"));
  equal((await (await kubeconfigAccess(`${folder}/a`)).credentials(false)).tls.insecure, true);
});

const MERGED: Readonly<Record<string, { list: string; files: Record<string, string> }>> = {
  "the first to name a thing wins": {
    list: "a:b",
    files: { a: kubeconfig({ token: "t" }), b: kubeconfig({ token: "u" }, { server: "https://127.0.0.1:2" }) },
  },
  "a thing that the first names is not completed from the second": {
    list: "a:b",
    files: { a: kubeconfig({ token: "t" }), b: kubeconfig({ as: "me" }, { "insecure-skip-tls-verify": true }) },
  },
  "each names a part": {
    list: "a:b",
    files: {
      a: kubeconfig({}, {}, { clusters: [], users: null }),
      b: kubeconfig({ token: "t" }, {}, { contexts: [], "current-context": "elsewhere" }),
    },
  },
  "the first has an empty current-context": {
    list: "a:b",
    files: { a: kubeconfig({ token: "t" }, {}, { "current-context": "" }), b: kubeconfig({ token: "u" }) },
  },
  "the first has a current-context that is null": {
    list: "a:b",
    files: { a: kubeconfig({ token: "t" }, {}, { "current-context": null }), b: kubeconfig({ token: "u" }) },
  },
  "the first does not exist": { list: "none:b", files: { b: kubeconfig({ token: "t" }) } },
  "the last does not exist": { list: "a:none", files: { a: kubeconfig({ token: "t" }) } },
  "the first is empty": { list: "a:b", files: { a: "", b: kubeconfig({ token: "t" }) } },
  "the first is an empty document": { list: "a:b", files: { a: "---\n", b: kubeconfig({ token: "t" }) } },
  "a name in the list is empty": { list: ":b:", files: { b: kubeconfig({ token: "t" }) } },
  "a file is there twice": { list: "b:b", files: { b: kubeconfig({ token: "t" }) } },
};
for (const [name, { list, files }] of Object.entries(MERGED)) {
  folderTest(`several kubeconfigs are merged as by kubectl: ${name}`, async (folder) => {
    for (const [file, text] of Object.entries(files)) await Deno.writeTextFile(`${folder}/${file}`, text);
    const access = await kubeconfigAccess(list.replaceAll(/[^:]+/g, `${folder}/$&`));
    equal(access.server, "https://127.0.0.1:1");
    const { headers, tls } = await access.credentials(false);
    deepEqual(headers, { authorization: "Bearer t" });
    equal(tls.insecure, false);
  });
}

folderTest("paths in a kubeconfig are relative to its folder, also when several are merged", async (folder) => {
  await Deno.mkdir(`${folder}/sub`);
  for (const name of ["ca", "cert", "key"]) await Deno.writeTextFile(`${folder}/sub/${name}`, `the ${name}`);
  await Deno.writeTextFile(`${folder}/sub/token`, "t");
  await Deno.writeTextFile(`${folder}/a`, kubeconfig({}, {}, { clusters: [], users: [] }));
  const user = { tokenFile: "token", "client-certificate": "cert", "client-key": "../sub/key" };
  await Deno.writeTextFile(`${folder}/sub/b`, kubeconfig(user, { "certificate-authority": "./ca" }));
  const { headers, tls } = await (await kubeconfigAccess(`${folder}/a:${folder}/sub/b`)).credentials(false);
  deepEqual(headers, { authorization: "Bearer t" });
  deepEqual([tls.ca, tls.cert, tls.key], ["the ca", "the cert", "the key"]);
});

folderTest("an exec plugin whose command has a slash is relative to the kubeconfig's folder", async (folder) => {
  await Deno.writeTextFile(`${folder}/plugin`, `#!/bin/sh\nprintf '{"status":{"token":"t"}}'\n`, { mode: 0o755 });
  await Deno.writeTextFile(`${folder}/a`, kubeconfig({ exec: { command: "./plugin" } }));
  const { headers } = await (await kubeconfigAccess(`${folder}/a`)).credentials(false);
  deepEqual(headers, { authorization: "Bearer t" });
});

folderTest("a certificate in the kubeconfig takes precedence over a file", async (folder) => {
  const cluster = { "certificate-authority-data": btoa("inside"), "certificate-authority": "none" };
  await Deno.writeTextFile(`${folder}/a`, kubeconfig({}, cluster));
  equal((await (await kubeconfigAccess(`${folder}/a`)).credentials(false)).tls.ca, "inside");
});

const SERVERS: readonly (readonly [string, string])[] = [
  ["https://127.0.0.1:1/", "https://127.0.0.1:1"],
  ["https://127.0.0.1:1//", "https://127.0.0.1:1"],
  ["https://127.0.0.1:1///", "https://127.0.0.1:1"],
  ["https://127.0.0.1:1?", "https://127.0.0.1:1"],
  ["HTTPS://Host:1", "https://host:1"],
  ["https://host", "https://host"],
  ["https://[fd00::1]:1/", "https://[fd00::1]:1"],
  ["https://host/k8s/clusters/c-1", "https://host/k8s/clusters/c-1"],
  ["https://host//k8s/./clusters//c-1//", "https://host/k8s/clusters/c-1"],
  ["http://127.0.0.1:8001", "http://127.0.0.1:8001"],
];
for (const [server, called] of SERVERS) {
  folderTest(`the server URL ${server} is called as ${called}`, async (folder) => {
    await Deno.writeTextFile(`${folder}/a`, kubeconfig({}, { server }));
    const access = await kubeconfigAccess(`${folder}/a`);
    equal(access.server, called);
    await access.credentials(false);
  });
}

const NOBODY: Readonly<Record<string, unknown>> = {
  "no user": { cluster: "c" },
  "an empty user": { cluster: "c", user: "" },
};
for (const [name, context] of Object.entries(NOBODY)) {
  folderTest(
    `a context with ${name}, as behind kubectl proxy, sends no credentials, and checks the server's certificate`,
    async (folder) => {
      const cluster = { "certificate-authority-data": btoa("ca") };
      const rest = { contexts: [{ name: "x", context }] };
      await Deno.writeTextFile(`${folder}/a`, kubeconfig({ token: "t" }, cluster, rest));
      const { headers, tls } = await (await kubeconfigAccess(`${folder}/a`)).credentials(false);
      deepEqual(headers, {});
      deepEqual([tls.ca, tls.insecure], ["ca", false]);
    },
  );
}

folderTest("a user name and password, and an impersonated user, become headers", async (folder) => {
  await Deno.writeTextFile(`${folder}/a`, kubeconfig({ username: "me", password: "secret", as: "other" }));
  const { headers } = await (await kubeconfigAccess(`${folder}/a`)).credentials(false);
  deepEqual(headers, { authorization: `Basic ${btoa("me:secret")}`, "impersonate-user": "other" });
});

folderTest("an impersonated user's id, groups and extra fields become headers", async (folder) => {
  const user = {
    token: "t",
    as: "jörg",
    "as-uid": "7",
    "as-groups": ["a", "b, c"],
    "as-user-extra": { "Example.org/Scope%": ["x", "y"], "ö": ["z"] },
  };
  await Deno.writeTextFile(`${folder}/a`, kubeconfig(user));
  const { headers } = await (await kubeconfigAccess(`${folder}/a`)).credentials(false);
  deepEqual(headers, {
    authorization: "Bearer t",
    "impersonate-user": "j\xc3\xb6rg",
    "impersonate-uid": "7",
    "impersonate-group": ["a", "b, c"],
    "impersonate-extra-example.org%2fscope%25": ["x", "y"],
    "impersonate-extra-%c3%b6": ["z"],
  });
});

folderTest(
  "an impersonated user stays impersonated when an exec plugin or a password gives the credentials",
  async (folder) => {
    const exec = { command: "sh", args: ["-c", `printf '{"status":{"token":"t"}}'`] };
    const as = { as: "other", "as-groups": ["a"] };
    for (
      const [user, authorization] of [[{ exec }, "Bearer t"], [{ username: "me" }, `Basic ${btoa("me:")}`]] as const
    ) {
      await Deno.writeTextFile(`${folder}/a`, kubeconfig({ ...user, ...as }));
      const { headers } = await (await kubeconfigAccess(`${folder}/a`)).credentials(false);
      deepEqual(headers, { authorization, "impersonate-user": "other", "impersonate-group": ["a"] });
    }
  },
);
