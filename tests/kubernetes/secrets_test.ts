/** Secrets that cannot be used, or that are used: no error, log record or reply shows them. @module */

import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { podAccess } from "../../src/kubernetes/access.ts";
import { connectKubernetes, type KubernetesClient } from "../../src/kubernetes/client.ts";
import { kubeconfigAccess } from "../../src/kubernetes/kubeconfig.ts";
import { ConfigError } from "../../src/config/config_error.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { getLogger } from "@logtape/logtape";
import { Log } from "../support/log.ts";

const SECRET = "hunter2";

/** Writes a kubeconfig into a folder of its own, and removes it after the run. */
async function withKubeconfig(
  user: Record<string, unknown>,
  cluster: Record<string, unknown>,
  run: (path: string, folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(
      `${folder}/config`,
      JSON.stringify({
        clusters: [{ name: "prod", cluster: { server: "https://127.0.0.1:9443", ...cluster } }],
        users: [{ name: "robot", user }],
        contexts: [{ name: "x", context: { cluster: "prod", user: "robot" } }],
        "current-context": "x",
      }),
    );
    await run(`${folder}/config`, folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Writes an error to the log in both formats and as a person would inspect it. */
async function everywhere(error: unknown): Promise<string> {
  const log = new Log();
  for (const format of ["json", "text"] as const) {
    await using _logging = await log.start(format);
    getLogger("fleetlock").error("failed", { error });
  }
  return `${log.text}\n${Deno.inspect(error, { depth: 99 })}`;
}

async function failureOf(call: () => Promise<unknown>): Promise<Error> {
  try {
    await call();
  } catch (error) {
    ok(error instanceof Error);
    return error;
  }
  throw new Error("it did not fail");
}

async function connectAndCall(path: string): Promise<void> {
  await using client: KubernetesClient = await connectKubernetes({ kubeconfig: path, timeoutMs: 3_000 });
  await client.get("/x");
}

/** What cannot be in a header. */
const BREAKS = ["\n", "\r\n", "\0", "\x1b[31m", "\x7f", "\u0085"];
const plugin = (token: string) => ({
  apiVersion: "client.authentication.k8s.io/v1",
  command: "sh",
  args: ["-c", `cat <<'END'\n${JSON.stringify({ status: { token } })}\nEND`],
});

const BAD_USERS: Record<string, (text: string) => Record<string, unknown>> = {
  token: (text) => ({ token: text }),
  "token of an exec plugin": (token) => ({ exec: plugin(token) }),
  password: (password) => ({ username: "me", password }),
  "user name": (username) => ({ username, password: "p" }),
  "impersonated user": (as) => ({ token: "t", as }),
};
for (const [name, user] of Object.entries(BAD_USERS)) {
  Deno.test(`a ${name} with a control character is refused when it is read, and not shown`, async () => {
    for (const character of BREAKS) {
      await withKubeconfig(user(`${SECRET}${character}${SECRET}`), {}, async (path) => {
        const error = await failureOf(() => connectAndCall(path));
        ok(error instanceof ConfigError, String(error));
        match(error.message, /user "robot" of the kubeconfig .*config has a line break/);
        const text = await everywhere(error);
        ok(!text.includes(SECRET), text);
      });
    }
  });
}

Deno.test("a token file with a line break is refused when it is read, at the start and later", async () => {
  await withKubeconfig({ tokenFile: "token" }, {}, async (path, folder) => {
    const bad = `${SECRET}\n${SECRET}`;
    await Deno.writeTextFile(`${folder}/ca.crt`, "x");
    await Deno.writeTextFile(`${folder}/token`, bad);
    for (const connect of [() => connectAndCall(path), () => podAccess("127.0.0.1", "1", folder)]) {
      const error = await failureOf(connect);
      ok(error instanceof ConfigError);
      match(error.message, /^The token at .*token has a line break/);
      ok(!(await everywhere(error)).includes(SECRET));
    }
    await Deno.writeTextFile(`${folder}/token`, "good");
    const access = await podAccess("127.0.0.1", "1", folder);
    await Deno.writeTextFile(`${folder}/token`, bad);
    const log = new Log();
    await using _logging = await log.start();
    equal((await access.credentials(true)).headers.authorization, "Bearer good");
    match(log.text, /token has a line break/);
    ok(!log.text.includes(SECRET), log.text);
  });
});

const BAD_CLUSTERS: Record<string, [Record<string, unknown>, RegExp]> = {
  "a password in the server URL": [
    { server: `https://me:${SECRET}@127.0.0.1:1` },
    /server URL in the cluster "prod" of the kubeconfig .* has a user name or password/,
  ],
  "a token as the user name in the server URL": [{ server: `https://${SECRET}@127.0.0.1:1` }, /has a user name/],
  "a server URL that is not valid": [{ server: `https://me:${SECRET}@:x` }, /invalid server URL in the cluster "prod"/],
  "a server URL of another scheme": [{ server: `ftp://me:${SECRET}@a` }, /invalid server URL/],
  "a query in the server URL": [{ server: `https://127.0.0.1:1/?token=${SECRET}` }, /has a query or fragment/],
  "a proxy-url that is not valid": [{ "proxy-url": `http://me:${SECRET}@:x` }, /proxy-url in the cluster "prod"/],
  "a proxy-url of another scheme": [
    { "proxy-url": `ftp://me:${SECRET}@a` },
    /proxy-url in the cluster "prod" .* with http, https or socks5/,
  ],
  "a proxy-url with a space": [{ "proxy-url": `http://me:${SECRET}@127.0.0.1:1 ` }, /^The proxy-url .* has a space/],
  "a proxy-url with a line break": [{ "proxy-url": `http://me:${SECRET}%0a@127.0.0.1:1` }, /has a line break/],
  "a proxy-url with a bad escape": [{ "proxy-url": `http://me:${SECRET}%zz@127.0.0.1:1` }, /begins no character/],
};
for (const [name, [cluster, says]] of Object.entries(BAD_CLUSTERS)) {
  Deno.test(`${name} is refused, and not shown`, async () => {
    await withKubeconfig({ token: "t" }, cluster, async (path) => {
      const error = await failureOf(() => connectAndCall(path));
      ok(error instanceof ConfigError, String(error));
      match(error.message, says);
      const text = await everywhere(error);
      ok(!text.includes(SECRET), text);
    });
  });
}

const GOOD_USERS: Record<string, Record<string, unknown>> = {
  token: { token: SECRET },
  password: { username: "me", password: SECRET },
  "token of an exec plugin": { exec: plugin(SECRET) },
};
for (const [name, user] of Object.entries(GOOD_USERS)) {
  Deno.test(`a ${name} that is right is not shown by a failed call either`, async () => {
    for (const cluster of [{}, { "proxy-url": `http://me:${SECRET}@127.0.0.1:9444` }]) {
      await withKubeconfig(user, cluster, async (path) => {
        const error = await failureOf(() => connectAndCall(path));
        ok(error instanceof UnavailableError);
        const text = await everywhere(error);
        ok(!text.includes(SECRET) && !text.includes(btoa(`me:${SECRET}`)), text);
      });
    }
  });
}

Deno.test("a page that repeats the credentials is not shown", async () => {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    return new Response(`you sent ${request.headers.get("authorization")}`, { status: 403 });
  });
  await withKubeconfig({ token: SECRET }, { server: `http://127.0.0.1:${server.addr.port}` }, async (path) => {
    const text = await everywhere(await failureOf(() => connectAndCall(path)));
    ok(!text.includes(SECRET), text);
  });
  await server.shutdown();
});

Deno.test("a password may have any characters but control characters, and is sent as UTF-8", async () => {
  await withKubeconfig({ username: "jörg", password: "пароль:€" }, {}, async (path) => {
    const { headers } = await (await kubeconfigAccess(path)).credentials(false);
    const sent = Uint8Array.fromBase64(`${headers.authorization}`.replace("Basic ", ""));
    equal(new TextDecoder().decode(sent), "jörg:пароль:€");
  });
});

Deno.test("a user name without a password has an empty one", async () => {
  await withKubeconfig({ username: "me" }, {}, async (path) => {
    const { headers } = await (await kubeconfigAccess(path)).credentials(false);
    equal(headers.authorization, `Basic ${btoa("me:")}`);
  });
});

Deno.test("the credentials in a proxy-url reach the proxy, decoded", async () => {
  const seen: (string | null)[] = [];
  const proxy = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    for await (const connection of proxy) {
      const bytes = new Uint8Array(4096);
      const text = new TextDecoder().decode(bytes.subarray(0, await connection.read(bytes) ?? 0));
      seen.push(
        /^CONNECT 127\.0\.0\.1:9443 .*\r\nproxy-authorization: (.*)\r\n/is.exec(text)?.[1]?.split("\r\n")[0] ?? null,
      );
      connection.close();
    }
  })();
  const port = proxy.addr.port;
  await withKubeconfig({ token: "t" }, { "proxy-url": `http://m%20e:p%40ss@127.0.0.1:${port}` }, async (path) => {
    const { tls } = await (await kubeconfigAccess(path)).credentials(false);
    equal(tls.proxy, `http://127.0.0.1:${port}/`);
    await rejects(connectAndCall(path), UnavailableError);
  });
  proxy.close();
  await serving;
  deepEqual([...new Set(seen)], [`Basic ${btoa("m e:p@ss")}`]);
});
