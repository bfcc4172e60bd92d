/** Words of a command line that begin with one dash: flags as in Go, and names and values that stay as they are. @module */

import { deepEqual, equal, match } from "node:assert/strict";
import { withFolder } from "../support/kubeconfigs.ts";
import { runCommand } from "../support/command_line.ts";

/** Runs commands on a new SQLite file. Gives them its flag. */
async function withStore(act: (store: string) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/locks.db`, "");
    await act(`sqlite:${folder}/locks.db`);
  });
}

/** Runs a command that succeeds. */
async function output(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand(args, { environment: { USER: "me" } });
  equal(code, 0, stderr);
  return stdout;
}

/** The groups that are paused. */
async function pauses(store: string) {
  const { groups } = JSON.parse(await output("status", "-o", "json", "-store", store));
  return groups.map(({ name, pause }: { name: string; pause?: unknown }) => ({ name, pause }));
}

Deno.test("a group that begins with a dash is paused and resumed, and no other is", async () => {
  await withStore(async (store) => {
    const paused = await output("pause", "-store", store, "-reason", "x", "-by=me", "--", "-web");
    match(paused, /^Paused: group -web grants/);
    match(paused, /^Next: fleetlock resume -- -web /m);
    deepEqual(await pauses(store), [{ name: "-web", pause: { reason: "x", by: "me" } }]);
    match(await output("explain", "--store", store, "--", "-web", "-host"), /^Next: fleetlock resume -- -web /m);
    match(await output("status", "--store", store, "--", "-web"), /^Next: fleetlock resume -- -web /m);
    match(await output("resume", "--store", store, "--", "-web"), /^Resumed: the pause of group -web is lifted/);
  });
});

Deno.test("a flag's value that begins with a dash stays as it is", async () => {
  await withStore(async (store) => {
    await output("pause", "--reason", "-hotfix", "web", "-store", store, "-by", "-me");
    deepEqual(await pauses(store), [{ name: "web", pause: { reason: "-hotfix", by: "-me" } }]);
    const { stderr } = await runCommand(["-log-level", "-debug"]);
    match(stderr, /"-debug"/);
  });
});
