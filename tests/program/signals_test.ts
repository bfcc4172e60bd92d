/** The signals that ask the program to end. @module */

import { deepEqual, match } from "node:assert/strict";
import { startProgram } from "../support/program.ts";

Deno.test("two signals in a row, as a launcher passes on what the terminal sent too, are one request to stop", async () => {
  await using program = await startProgram(["--store=memory"]);
  program.process.kill("SIGINT");
  program.process.kill("SIGTERM");
  const { code, signal } = await program.process.status;
  deepEqual({ code, signal }, { code: 0, signal: null });
  match(program.log(), /\bstopped\b/);
});
