/** The signals that the program gets. @module */

import { deepEqual, equal, match } from "node:assert/strict";
import { until } from "../support/condition.ts";
import { type Program, startProgram } from "../support/program.ts";
import { preReboot } from "../support/zincati.ts";

Deno.test("two signals in a row, as a launcher passes on what the terminal sent too, are one request to stop", async () => {
  await using program = await startProgram(["--store=memory"]);
  program.process.kill("SIGINT");
  program.process.kill("SIGTERM");
  const { code, signal } = await program.ended();
  deepEqual({ code, signal }, { code: 0, signal: null });
  match(program.log(), /\bstopped\b/);
});

/** Signals that do not end a server are sent; then it serves, and SIGQUIT stops it. */
async function survive(program: Program, pid: number): Promise<void> {
  for (const signal of ["SIGUSR1", "SIGUSR2", "SIGHUP", "SIGHUP"] as const) {
    Deno.kill(pid, signal);
    equal((await preReboot(program.url, "a")).status, 200, signal);
  }
  await until(() => program.records().some(({ message }) => /^SIGHUP/.test(`${message}`)), { what: "a log line" });
  Deno.kill(pid, "SIGQUIT");
  const { code } = await program.ended();
  equal(code, 0);
  deepEqual(program.records().slice(-2).map(({ message, reason }) => [message, reason]), [
    ["stopping", "SIGQUIT"],
    ["stopped", undefined],
  ]);
}

Deno.test("without a configuration file SIGHUP is a line in the log, SIGUSR1 and SIGUSR2 are ignored, and SIGQUIT stops gracefully", async () => {
  await using program = await startProgram(["--store=memory"]);
  await survive(program, program.process.pid);
});

/** Runs a command as the first process of a new PID namespace, as a container runtime does. */
const NEW_NAMESPACE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"];

Deno.test({
  name: "with pid 1, as in a container, signals have the same effects",
  ignore: !canUnshare(),
  fn: async () => {
    await using program = await startProgram(["--store=memory"], {}, NEW_NAMESPACE);
    const launcher = program.process.pid;
    // Deno reads /proc only with all permissions.
    const { stdout } = await new Deno.Command("cat", { args: [`/proc/${launcher}/task/${launcher}/children`] })
      .output();
    await survive(program, Number(new TextDecoder().decode(stdout).trim()));
  },
});

/** Whether this machine lets its users make namespaces, which many containers forbid. */
function canUnshare(): boolean {
  const [command, ...args] = [...NEW_NAMESPACE, "true"];
  try {
    return new Deno.Command(command!, { args, stdout: "null", stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
}
