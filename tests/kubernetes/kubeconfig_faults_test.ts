/** Kubeconfigs that cannot be used: the error explains it in one sentence, and shows no secret. @module */

import { doesNotMatch, equal, match, ok, rejects } from "node:assert/strict";
import childProcess from "node:child_process";
import { ConfigError } from "../../src/config/config_error.ts";
import { connectKubernetes } from "../../src/kubernetes/client.ts";
import { kubeconfigAccess } from "../../src/kubernetes/kubeconfig.ts";
import { folderTest, kubeconfig, withFolder } from "../support/kubeconfigs.ts";

const UNUSABLE: { name: string; text: string | undefined; says: RegExp }[] = [
  { name: "that does not exist", text: undefined, says: /^Cannot read the kubeconfig at .*the file does not exist/ },
  { name: "that is empty", text: "", says: /^The kubeconfig .*config is empty: write it, or set KUBECONFIG/ },
  { name: "with nothing but a comment", text: "# later\n", says: /is empty/ },
  { name: "whose first document is empty", text: `---\n---\n${kubeconfig({})}`, says: /is empty/ },
  {
    name: "that is not YAML",
    text: "token: secret\na: [\n",
    says: /cannot be used: [a-z ]+ in line 3; check it with "kubectl config view"$/,
  },
  { name: "that is a number", text: "7", says: /cannot be used: it is not a YAML object/ },
  { name: "that is a list", text: "[]", says: /cannot be used: it is not a YAML object/ },
  { name: "whose users are not a list", text: kubeconfig({}, {}, { users: {} }), says: /"users" is not a list/ },
  {
    name: "with an entry that is a text",
    text: kubeconfig({}, {}, { users: ["u"] }),
    says: /an entry of "users" is not/,
  },
  { name: "with a user that is a text", text: kubeconfig("u"), says: /its user "u" is not an object/ },
  {
    name: "with a name that is a number",
    text: kubeconfig({}, {}, { users: [{ name: 1 }] }),
    says: /a name in "users" is not a string: put it in quotes/,
  },
  {
    name: "with a name twice",
    text: kubeconfig({}, {}, { users: [{ name: "u" }, { name: "u", user: { token: "secret" } }] }),
    says: /cannot be used: it has the user "u" twice: remove one/,
  },
  {
    name: "whose current context is a number",
    text: kubeconfig({}, {}, { "current-context": 7 }),
    says: /"current-context" is not a string: put it in quotes/,
  },
  {
    name: "whose context has no cluster",
    text: kubeconfig({}, {}, { contexts: [{ name: "x", context: { user: "u" } }] }),
    says: /^There is no cluster in the context "x" of the kubeconfig .*config: choose another context/,
  },
  {
    name: "with a token that is a number",
    text: kubeconfig({ token: 12345 }),
    says: /^The field "token" of the user "u" of the kubeconfig .*config is not a string: put it in quotes$/,
  },
  {
    name: "with insecure-skip-tls-verify that is a text",
    text: kubeconfig({}, { "insecure-skip-tls-verify": "true" }),
    says: /"insecure-skip-tls-verify" of the cluster "c" .* is not a boolean: write true or false, without quotes/,
  },
  {
    name: "with groups that are not a list",
    text: kubeconfig({ as: "a", "as-groups": "b" }),
    says: /is not a list of/,
  },
  {
    name: "with extra fields that are not lists",
    text: kubeconfig({ as: "a", "as-user-extra": { b: "c" } }),
    says: /"as-user-extra" of the user "u" .* is not an object with lists of strings/,
  },
  {
    name: "with groups but without a user to act as",
    text: kubeconfig({ "as-groups": ["a"] }),
    says: /^There is as-uid, as-groups or as-user-extra in the user "u" .*, but not as: write the user's name/,
  },
  {
    name: "with a token and a user name",
    text: kubeconfig({ token: "secret", username: "a", password: "secret" }),
    says: /^There is both a token and a username in the user "u" .*: remove one/,
  },
  {
    name: "with a client certificate but without its key",
    text: kubeconfig({ "client-certificate-data": btoa("secret") }),
    says: /^There is a client-certificate in the user "u" .*, but not its client-key: add that/,
  },
  {
    name: "whose plugin has no command",
    text: kubeconfig({ exec: {} }),
    says: /exec plugin of the user "u" .* no command/,
  },
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
  {
    name: "without a server",
    text: kubeconfig({}, { server: undefined }),
    says: /^There is no server in the cluster "c"/,
  },
  {
    name: "with a server that is not a URL",
    text: kubeconfig({}, { server: "somewhere" }),
    says: /^There is an invalid server URL in the cluster "c"/,
  },
  {
    name: "with a proxy of an unknown kind",
    text: kubeconfig({}, { "proxy-url": "ftp://a" }),
    says: /^The proxy-url in the cluster "c" of the kubeconfig .*config is not valid: write it as http:/,
  },
  ...["http://a:1 ", " http://a:1", "http://a b:1", "http://a:1/ b", " ", "http://a\nb:1"].map((proxy) => ({
    name: `with the proxy-url ${JSON.stringify(proxy)}`,
    text: kubeconfig({}, { "proxy-url": proxy }),
    says: /^The proxy-url in the cluster "c" of the kubeconfig .*config has a space or a line break: remove it/,
  })),
  {
    name: "with a proxy and insecure-skip-tls-verify",
    text: kubeconfig({}, { "proxy-url": "http://a", "insecure-skip-tls-verify": true }),
    says: /not supported: set the cluster's certificate-authority/,
  },
  {
    name: "with an authority that is not a certificate",
    text: kubeconfig({}, { "certificate-authority-data": btoa("no PEM") }),
    says:
      /^The certificates for the cluster "c" of the kubeconfig .* cannot be used: .*certificate is not in PEM format/,
  },
  {
    name: "with a malformed client certificate",
    text: kubeconfig({ "client-certificate-data": btoa("no PEM"), "client-key-data": btoa("no PEM") }),
    says: /^The certificates for the cluster "c" of the kubeconfig .*config cannot be used/,
  },
  {
    name: "with an authority's file that does not exist",
    text: kubeconfig({}, { "certificate-authority": "none.crt" }),
    says: /cannot be read: .*none\.crt'; correct its path in the kubeconfig$/,
  },
  {
    name: "with a token file that does not exist",
    text: kubeconfig({ tokenFile: "none" }),
    says: /^Cannot read the token at .*none: the file does not exist; correct the kubeconfig's tokenFile$/,
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
  folderTest(`a kubeconfig ${name} is refused with an error that explains it`, async (folder) => {
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

Deno.test({
  name: "an exec plugin that an executable may not run is refused with an error that says so",
  permissions: { read: true, write: true, env: true, sys: true, run: ["no-such-program"] },
  fn: () =>
    withFolder(async (folder) => {
      const path = `${folder}/config`;
      await Deno.writeTextFile(path, kubeconfig({ exec: { command: "sh", args: [] } }));
      const { spawn } = childProcess;
      // What a process is in an executable of Deno that may not run its program: it has no streams.
      childProcess.spawn = ((command: string) => {
        equal(command, "sh");
        return { stdout: null, stderr: null };
      }) as unknown as typeof spawn;
      try {
        await rejects(
          connectAndClose(path),
          /the permission to run it \(--allow-run=sh\), .* run fleetlock from source$/,
        );
      } finally {
        childProcess.spawn = spawn;
      }
    }),
});

for (
  const [list, says] of [["none:none2", /none of its files exists; correct KUBECONFIG$/], [
    ":",
    /none of its files/,
  ]] as const
) {
  folderTest(
    `the kubeconfigs ${list}, of which none exists, are refused with an error that says so`,
    async (folder) => {
      await rejects(kubeconfigAccess(list.replaceAll(/[^:]+/g, `${folder}/$&`)), (error) => {
        ok(error instanceof ConfigError);
        match(error.message, says);
        return true;
      });
    },
  );
}

folderTest("of several kubeconfigs, the error names the one that is wrong", async (folder) => {
  await Deno.writeTextFile(`${folder}/a`, kubeconfig({}, {}, { users: [] }));
  await Deno.writeTextFile(`${folder}/b`, kubeconfig({ tokenFile: 7 }));
  await rejects(
    kubeconfigAccess(`${folder}/a:${folder}/b`),
    /of the user "u" of the kubeconfig \/[^:]*\/b is not a string/,
  );
  await Deno.writeTextFile(`${folder}/b`, "a: [");
  await rejects(kubeconfigAccess(`${folder}/a:${folder}/b`), /^ConfigError: The kubeconfig \/[^:]*\/b cannot be used/);
});
