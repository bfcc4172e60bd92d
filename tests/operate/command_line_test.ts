/** Commands to paste: a shell and the program read back the words that they were made of. @module */

import { deepEqual, equal } from "node:assert/strict";
import { commandLine } from "../../src/operate/command_line.ts";

/** What a shell makes of a command's words. */
async function wordsOf(line: string): Promise<string[]> {
  const script = `printf '%s\\n' ${line}`;
  const { stdout } = await new Deno.Command("sh", { args: ["-c", script] }).output();
  return new TextDecoder().decode(stdout).trimEnd().split("\n");
}

Deno.test("plain names stand in a command as they are", () => {
  equal(commandLine("fleetlock release", "workers", "node-a.example:1"), "fleetlock release workers node-a.example:1");
});

Deno.test("a name that begins with a dash comes after two dashes, and none is lost or run in a shell", async () => {
  for (
    const names of [["-web"], ["--web", "a"], ["web", "-h"], ["--"], ["a;echo", "$(id)"], ["it's", "*"], ["~", "#x"]]
  ) {
    const separator = names.some((name) => name.startsWith("-")) ? ["--"] : [];
    deepEqual(await wordsOf(commandLine("release", ...names)), ["release", ...separator, ...names]);
  }
});
