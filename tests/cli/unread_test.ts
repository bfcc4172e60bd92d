/** Commands whose output nobody reads to its end, as in `fleetlock check | head -1`. @module */

import { deepEqual, equal } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { run } from "../../src/cli/cli.ts";
import { account, group, holder } from "../support/accounts.ts";

const example = fileURLToPath(new URL("../../examples/config/small-cluster.yaml", import.meta.url));

/** Runs a command whose reader goes away after some writes. */
async function runUnread(args: readonly string[], writes = 0) {
  let stderr = "";
  let written = 0;
  const code = await run(args, new AbortController().signal, {
    stdout() {
      if (written >= writes) throw new Deno.errors.BrokenPipe("gone");
      written++;
    },
    stderr: (text) => stderr += text,
    isTerminal: () => false,
    screen: () => undefined,
    ask: () => Promise.resolve(undefined),
    environment: () => ({}),
    onHangup: () => ({ [Symbol.dispose]() {} }),
  });
  return { code, stderr };
}

/** A server whose only hold is stuck. */
function stuckServer() {
  const answer = () => Response.json(account([group({ name: "workers", holders: [holder({ isStuck: true })] })]));
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, answer);
  return { url: `http://127.0.0.1:${server.addr.port}`, [Symbol.asyncDispose]: () => server.shutdown() };
}

Deno.test("output that nobody reads any more ends a command quietly", async () => {
  for (const args of [["config", "check", example], ["config", "schema"], ["--help"], ["status", "--help"]]) {
    deepEqual(await runUnread(args), { code: 0, stderr: "" }, args.join(" "));
  }
});

Deno.test("the exit code does not depend on how much of the output somebody reads", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await using server = stuckServer();
    const checks = ["check", "--store", `sqlite:${folder}/locks.db`, "--config", `${folder}/none.yaml`];
    for (const writes of [0, 1, 2]) {
      equal((await runUnread(checks, writes)).code, 1, `check, ${writes} writes`);
      equal((await runUnread(["status", "--server", server.url], writes)).code, 2, `status, ${writes} writes`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("status --watch ends when nobody reads it any more", async () => {
  await using server = stuckServer();
  equal((await runUnread(["status", "--watch", "--server", server.url])).code, 2);
});
