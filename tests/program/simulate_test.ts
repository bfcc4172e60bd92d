/**
 * The command `simulate` as a process, against a server that is another one: whatever ends it, what its hosts hold is
 * released, or the next run says what is left.
 *
 * @module
 */

import { deepEqual, equal, match } from "node:assert/strict";
import { until } from "../support/condition.ts";
import { type Ended, type Program, programCommand, runProgram, startProgram } from "../support/program.ts";

/**
 * The signal of a terminal and the one that a launcher passes on arrive this long after each other, in milliseconds.
 */
const APART_MS = 20;

/** How the command is started where a test ends it: hosts ask within seconds, and each reboot takes one at least. */
const SLOW = ["--clients=20", "--groups=1", "--speed=60", "--seed=1"];

/** How the command is started where it runs to its end. */
const QUICK = ["--clients=4", "--groups=1", "--speed=6000", "--seed=1"];

/** The starts of the ids of the clients that hold a slot. */
async function holders({ url }: Program): Promise<string[]> {
  const account = await (await fetch(`${url}/status.json`)).json();
  const groups: { holders: { id: string }[] }[] = account.groups;
  return groups.flatMap((each) => each.holders.map(({ id }) => id));
}

/** Waits until a simulated host, and not a client that looks at the server before the run, holds a slot. */
async function hostHolds(server: Program): Promise<void> {
  await until(async () => (await holders(server)).some((id) => /^sim\d/.test(id)), { timeoutMs: 30_000 });
}

/** Starts a simulation, and returns it once one of its hosts holds a slot. */
async function startSimulation(server: Program, wrapper: readonly string[] = []): Promise<Deno.ChildProcess> {
  const command = programCommand(["simulate", `--target=${server.url}`, ...SLOW], {}, wrapper);
  const simulation = command.spawn();
  try {
    await hostHolds(server);
    return simulation;
  } catch (error) {
    simulation.kill("SIGKILL");
    await simulation.output();
    throw error;
  }
}

async function ended(process: Deno.ChildProcess): Promise<Ended> {
  const { code, stdout, stderr } = await process.output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

/** Runs a simulation to its end on a server where nobody holds a slot. */
async function runQuickly(server: Program, ...more: string[]): Promise<Ended> {
  return await runProgram(["simulate", `--target=${server.url}`, ...QUICK, ...more]);
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  Deno.test(`a simulation that ${signal} ends, which comes twice, releases what its hosts hold and says how it went`, async () => {
    await using server = await startProgram(["--store=memory"]);
    const simulation = await startSimulation(server);
    simulation.kill(signal);
    await new Promise((resolve) => setTimeout(resolve, APART_MS));
    simulation.kill(signal);
    const { code, stdout, stderr } = await ended(simulation);
    equal(code, 0, stderr);
    match(stdout, /^No (two hosts|host).*: \d+ turns?, 0 violations\nsimulated /);
    match(stdout, /^took +\d+\.\d s, interrupted$/m);
    deepEqual(await holders(server), []);

    const next = await runQuickly(server);
    equal(next.code, 0, next.stderr);
    match(next.stdout, /^No two hosts of a group rebooted at once: 4 turns, 0 violations\n/);
  });
}

Deno.test("a simulation that was killed leaves slots, which the next one names, and releases with --clear", async () => {
  await using server = await startProgram(["--store=memory"]);
  const simulation = await startSimulation(server);
  simulation.kill("SIGKILL");
  await simulation.output();
  const left = await holders(server);
  equal(left.length, 1);

  const refused = await runQuickly(server);
  deepEqual({ code: refused.code, stdout: refused.stdout }, { code: 2, stdout: "" });
  match(
    refused.stderr,
    /^fleetlock: A simulated host holds a slot of group "sim-1": an earlier simulation left it, or another one is running \(lock_held, .*sim\d+.*\); add --clear to release what an earlier one left\n$/,
  );
  deepEqual(await holders(server), left);

  const cleared = await runQuickly(server, "--clear");
  equal(cleared.code, 0, cleared.stderr);
  match(cleared.stderr, /^Released 1 slot that an earlier run had left\.$/m);
  match(cleared.stdout, /^No two hosts of a group rebooted at once: 4 turns, 0 violations\n/);
  match(cleared.stdout, /^cleared +1 slot of an earlier run at the start$/m);
  deepEqual(await holders(server), []);
});

/** Runs a command on a terminal of its own, which is closed when this process is killed: then its shell ends first. */
const ON_TERMINAL = [
  "sh",
  "-c",
  `line=; for each; do line="$line '$each'"; done; exec script --quiet --command "$line; true" /dev/null`,
  "sh",
];

/** Runs a command to its end whatever happens to the terminal, and writes its exit code beside itself. */
const KEEPS_CODE = 'trap : HUP\n"$@"\necho $? > "$0.code"\n';

Deno.test({
  name: "a simulation whose terminal is closed releases what its hosts hold, and ends well",
  ignore: !hasScript(),
  fn: async () => {
    const folder = await Deno.makeTempDir({ prefix: "fleetlock-test-" });
    try {
      await Deno.writeTextFile(`${folder}/run`, KEEPS_CODE);
      await using server = await startProgram(["--store=memory"]);
      const terminal = await startSimulation(server, [...ON_TERMINAL, "sh", `${folder}/run`]);
      terminal.kill("SIGKILL");
      await terminal.output();
      const code = await until(() => Deno.readTextFile(`${folder}/run.code`).catch(() => undefined));
      equal(code, "0\n");
      deepEqual(await holders(server), []);
      const next = await runQuickly(server);
      equal(next.code, 0, next.stderr);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

/** Whether this machine has the command that makes terminals, as that of util-linux does. */
function hasScript(): boolean {
  try {
    const args = ["--quiet", "--command", "true", "/dev/null"];
    return new Deno.Command("script", { args, stdin: "null", stdout: "null", stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
}
