/**
 * The secrets of a kubeconfig while a whole server runs: whatever the API server or something before it answers, no
 * line of the log and no reply shows one.
 *
 * @module
 */

import { ok } from "node:assert/strict";
import { parseConfig } from "../../src/config/config.ts";
import { startService } from "../../src/service/service.ts";
import { createClientAuthority, signClientCertificate } from "../support/certificates.ts";
import { until } from "../support/condition.ts";
import { kubeconfig, withFolder } from "../support/kubeconfigs.ts";
import { Log } from "../support/log.ts";

const ID = "c988d2509fdf5cdcbed39037c56406fb";
/** It has characters that are written differently in a URL and in JSON. */
const SECRET = 'hunter2"%\\é';
/** For what can only be ASCII. */
const TOKEN = "hunter2.token";

/** What stands in for the API server. It is told what the request contains, as far as it could repeat it. */
const ANSWERS: Readonly<Record<string, (seen: string) => Response>> = {
  "a page with status 403 that repeats the request": (seen) => new Response(`<html>${seen}`, { status: 403 }),
  "a page with status 500 that repeats the request": (seen) => new Response(`<html>${seen}`, { status: 500 }),
  "a page with status 200 that repeats the request": (seen) => new Response(`<html>${seen}`),
  "an object with status 200 that repeats the request": (seen) => Response.json({ apiVersion: "v1", kind: seen }),
  "a redirect that repeats the request": (seen) =>
    new Response(null, { status: 302, headers: { location: `/login?${encodeURIComponent(seen)}` } }),
  "401": () => status(401, "Unauthorized"),
  "403": () => status(403, 'User "u" cannot get resource "leases" in API group "coordination.k8s.io"'),
  "407": () => new Response("a proxy needs a password", { status: 407, headers: { "proxy-authenticate": "Basic" } }),
  "429": () => status(429, "too many requests"),
  "500": () => status(500, "etcdserver: request timed out"),
};

function status(code: number, message: string): Response {
  return Response.json({ kind: "Status", apiVersion: "v1", status: "Failure", code, message }, { status: code });
}

/** A kubeconfig and its secrets. */
interface Secretive {
  readonly text: string;
  readonly secrets: readonly string[];
}

/** Makes the kubeconfigs for a server at `url`, in a folder with files beside it. */
const KUBECONFIGS: Readonly<Record<string, (url: string, folder: string) => Promise<Secretive> | Secretive>> = {
  "a token": (server) => ({ text: kubeconfig({ token: TOKEN }, { server }), secrets: [TOKEN] }),
  "a password": (server) => ({
    text: kubeconfig({ username: "me", password: SECRET }, { server }),
    secrets: [SECRET],
  }),
  async "a token file that is emptied later"(server, folder) {
    await Deno.writeTextFile(`${folder}/token`, TOKEN);
    return { text: kubeconfig({ tokenFile: "token" }, { server }), secrets: [TOKEN] };
  },
  "an exec plugin": (server) => ({
    text: kubeconfig({ exec: { command: "echo", args: [JSON.stringify({ status: { token: TOKEN } })] } }, { server }),
    secrets: [TOKEN],
  }),
  async "a client key"(server, folder) {
    await createClientAuthority(folder);
    const { cert, key } = await signClientCertificate(folder, "bob", "system:masters");
    const user = { "client-certificate-data": btoa(cert), "client-key-data": btoa(key) };
    const lines = key.split("\n").filter((line) => line !== "" && !line.startsWith("-----"));
    return { text: kubeconfig(user, { server }), secrets: [btoa(key), ...lines] };
  },
  "a client key in a file, of a server that speaks no TLS": async (server, folder) => {
    await createClientAuthority(folder);
    const { cert, key } = await signClientCertificate(folder, "bob", "system:masters");
    await Deno.writeTextFile(`${folder}/cert`, cert);
    await Deno.writeTextFile(`${folder}/key`, key);
    const user = { "client-certificate": "cert", "client-key": "key" };
    const lines = key.split("\n").filter((line) => line !== "" && !line.startsWith("-----"));
    return { text: kubeconfig(user, { server: server.replace("http:", "https:") }), secrets: lines };
  },
  "a password for a proxy": (proxy) => ({
    text: kubeconfig({ token: TOKEN }, { server: "http://10.0.0.1:6443", "proxy-url": withUserinfo(proxy) }),
    secrets: [SECRET, TOKEN],
  }),
  "a password for a proxy that makes no tunnels": (proxy) => ({
    text: kubeconfig({ token: TOKEN }, { server: "https://10.0.0.1:6443", "proxy-url": withUserinfo(proxy) }),
    secrets: [SECRET, TOKEN],
  }),
};

function withUserinfo(url: string): string {
  return url.replace("://", `://me:${encodeURIComponent(SECRET)}@`);
}

/** Every way in which a text might show a secret. */
function formsOf(secret: string): string[] {
  const bytes = new TextEncoder().encode(`me:${secret}`);
  const asBytes = String.fromCharCode(...new TextEncoder().encode(secret));
  return [
    secret,
    asBytes,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret),
    bytes.toBase64(),
    new TextEncoder().encode(secret).toBase64(),
    encodeURIComponent(bytes.toBase64()),
  ];
}

/** Runs a server and asks it for everything. Returns all that it replied. */
async function useService(path: string, log: Log, folder: string): Promise<string> {
  const config = parseConfig({ address: "127.0.0.1:0" }, { KUBECONFIG: path, NAMESPACE: "ns" });
  await using service = await startService(config, { version: "0.0.0", connection: { timeoutMs: 2_000 } });
  let replies = "";
  const ask = async (method: string, endpoint: string, body?: string) => {
    const headers = { "fleet-lock-protocol": "true" };
    const reply = await fetch(service.url + endpoint, { method, headers, body, redirect: "manual" });
    replies += `${method} ${endpoint} ${reply.status} ${JSON.stringify([...reply.headers])}\n${await reply.text()}\n`;
  };
  const params = (id: string) => JSON.stringify({ client_params: { id, group: "default" } });
  const everything = async () => {
    for (const endpoint of ["/v1/pre-reboot", "/v1/steady-state"]) {
      await ask("POST", endpoint, params(ID));
      await ask("POST", endpoint, params("not valid"));
    }
    for (const endpoint of ["/metrics", "/-/ready", "/-/healthy", "/nothing"]) await ask("GET", endpoint);
  };
  await everything();
  if (await Deno.truncate(`${folder}/token`).then(() => true, () => false)) {
    // A refused token is read again, so the warning about the empty file needs no minute.
    await everything();
  }
  await until(() => log.text !== "", { what: "a line about the API server" });
  return replies;
}

for (const [name, make] of Object.entries(KUBECONFIGS)) {
  Deno.test(`with ${name} in the kubeconfig, no line of the log and no reply shows it`, async () => {
    await withFolder(async (folder) => {
      let sent = "";
      let answer: (seen: string) => Response;
      const server = Deno.serve(
        { hostname: "127.0.0.1", port: 0, onListen() {}, onError: () => status(500, "") },
        (request) => {
          const seen = JSON.stringify([request.method, request.url, ...request.headers]);
          sent += seen;
          return answer(seen);
        },
      );
      const { text, secrets } = await make(`http://127.0.0.1:${server.addr.port}`, folder);
      const forms = secrets.flatMap(formsOf);
      await Deno.writeTextFile(`${folder}/config`, text);
      for (const [what, each] of Object.entries(ANSWERS)) {
        answer = each;
        for (const format of ["json", "text"] as const) {
          if (name.includes("token file")) await Deno.writeTextFile(`${folder}/token`, TOKEN);
          const log = new Log();
          let replies: string;
          {
            await using _logging = await log.start(format);
            replies = await useService(`${folder}/config`, log, folder);
          }
          for (const form of forms) {
            ok(!log.text.includes(form), `with ${what}, the log shows ${form}:\n${log.text}`);
            ok(!replies.includes(form), `with ${what}, a reply shows ${form}:\n${replies}`);
          }
        }
      }
      await server.shutdown();
      if (!/key|tunnel/.test(name)) ok(forms.some((form) => sent.includes(form)), "the server got a secret to repeat");
    });
  });
}

Deno.test("with an API server that is gone, no line of the log and no reply shows a secret of the kubeconfig", async () => {
  await withFolder(async (folder) => {
    for (const make of Object.values(KUBECONFIGS)) {
      const { text, secrets } = await make("http://127.0.0.1:1", folder);
      await Deno.writeTextFile(`${folder}/config`, text);
      const log = new Log();
      let replies: string;
      {
        await using _logging = await log.start();
        replies = await useService(`${folder}/config`, log, folder);
      }
      for (const form of secrets.flatMap(formsOf)) ok(!log.text.includes(form) && !replies.includes(form), form);
    }
  });
});
