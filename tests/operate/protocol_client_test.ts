/** The protocol's client for other programs: what counts as a yes. @module */

import { deepEqual } from "node:assert/strict";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { askProtocol } from "../../src/operate/protocol_client.ts";

/** Asks a server that answers as given, once. */
async function ask(answer: () => Response): Promise<{ kind: string; sentence?: string }> {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, answer);
  try {
    return await askProtocol({
      server: new URL(`http://127.0.0.1:${server.addr.port}`),
      endpoint: "pre-reboot",
      id: parseClientId("a")!,
      group: parseGroup("w")!,
      waitMs: 0,
      signal: new AbortController().signal,
    });
  } finally {
    await server.shutdown();
  }
}

const endless = () =>
  new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(65_536).fill(0x61)) });
const notOurs = "and is not that of a FleetLock server";

for (
  const [name, answer, expected] of [
    ["a success without a body", () => new Response(null, { status: 204 }), ["done", undefined]],
    ["a success in plain text", () => new Response("reboot lease obtained"), ["done", undefined]],
    [
      "a login page",
      () => new Response("<html>", { headers: { "content-type": "text/html; charset=utf-8" } }),
      ["fault", "the answer is a web page and not that of a FleetLock server"],
    ],
    [
      "a redirect",
      () => new Response(null, { status: 302, headers: { location: "/login" } }),
      ["fault", `the answer has status 302 ${notOurs}, but a redirect, which is never followed`],
    ],
    [
      "a refusal",
      () => Response.json({ kind: "lock_held", value: "by b" }, { status: 423 }),
      ["later", "by b (lock_held)"],
    ],
    ["an answer without an end", () => new Response(endless(), { status: 423 }), [
      "later",
      `the answer has status 423 ${notOurs}`,
    ]],
    ["a fault of the request", () => Response.json({ kind: "invalid_id", value: "no" }, { status: 400 }), [
      "fault",
      "no (invalid_id)",
    ]],
  ] as const
) {
  Deno.test(`the answer to lock: ${name}`, async () => {
    const { kind, sentence } = await ask(answer);
    deepEqual([kind, sentence], expected);
  });
}
