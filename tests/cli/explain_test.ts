/** What the command `explain` prints about a hold. @module */

import { equal } from "node:assert/strict";
import type { Stage } from "../../src/status/account.ts";
import { account, before, client, group, holder } from "../support/accounts.ts";
import { runCommand } from "../support/command_line.ts";

/** Runs the command against a server that shows one hold in a stage. */
async function explained(stage: Stage): Promise<string> {
  const held = holder({ ...client("a".repeat(32)), node: "node-a", since: before(34), stage, stageSince: before(12) });
  const answer = () => Response.json(account([group({ name: "workers", holders: [held] })]));
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, answer);
  const url = `http://127.0.0.1:${server.addr.port}`;
  const { stdout, stderr } = await runCommand(["explain", "workers", "node-a", "--server", url]);
  return stdout + stderr;
}

Deno.test("a hold is explained with its stage, and without one where the stage is unknown", async () => {
  const holds = "node-a holds a slot of group workers, granted 34 min ago.\n";
  equal(await explained("rebooting"), `${holds}  stage: rebooting for 12 min\n`);
  equal(await explained("unknown"), holds);
});
