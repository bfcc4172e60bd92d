/**
 * The whole program: commands, flags, signals, log and exit codes.
 *
 * @module
 */

import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { until } from "../support/condition.ts";
import { PROGRAM, type Program, programCommand, runProgram, startProgram } from "../support/program.ts";
import { preReboot, steadyState } from "../support/zincati.ts";

const ALICE = "c988d2509fdf5cdcbed39037c56406fb";
const BOB = "049ad0f57ade4723a48692b7b692c318";

function test(name: string, fn: () => Promise<void>): void {
  Deno.test(`${PROGRAM}: ${name}`, fn);
}

/** Makes a folder that the test removes at its end. */
async function temporary() {
  const path = await Deno.makeTempDir({ prefix: "fleetlock-test-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

test("grants, renews, refuses and releases slots, and a hold survives a kill -9", async () => {
  await using folder = await temporary();
  const store = `--store=sqlite:${folder.path}/locks.db`;
  {
    await using program = await startProgram([store]);
    equal((await fetch(`${program.url}/-/healthy`).then((reply) => reply.text())).trim(), "ok");
    equal((await fetch(`${program.url}/-/ready`).then((reply) => reply.text())).trim(), "ok");
    deepEqual(await preReboot(program.url, ALICE), { status: 200, text: "obtained reboot lease" });
    deepEqual(await preReboot(program.url, ALICE), { status: 200, text: "retained reboot lease" });
    await program.stop("SIGKILL");
  }
  await using program = await startProgram([store]);
  const refused = await preReboot(program.url, BOB);
  equal(refused.status, 423);
  equal(refused.kind, "lock_held");
  match(refused.value!, new RegExp(`held by ${ALICE.slice(0, 8)}… since `));
  equal((await steadyState(program.url, BOB)).status, 200);
  const metrics = await fetch(`${program.url}/metrics`).then((reply) => reply.text());
  match(metrics, /^fleetlock_lock_state\{group="default"\} 1$/m);
  match(metrics, /^fleetlock_lock_transition_count\{group="default"\} 1$/m);
  deepEqual(await steadyState(program.url, ALICE), { status: 200, text: "steady-state confirmed" });
  equal((await preReboot(program.url, BOB)).status, 200);
  equal((await program.stop("SIGTERM")).code, 0);
});

test("a client that reports for another group than it holds is served, and the log names both groups", async () => {
  await using folder = await temporary();
  await using program = await startProgram([`--store=sqlite:${folder.path}/locks.db`]);
  await preReboot(program.url, ALICE, "workers");
  equal((await steadyState(program.url, ALICE, "default")).status, 200);
  const warning = () => program.records().find((record) => record.held_group !== undefined);
  await until(() => warning() !== undefined);
  const { level, id, group, held_group } = warning()!;
  deepEqual([level, id, group, held_group], ["warning", ALICE, "default", "workers"]);
});

test("two processes on one file agree on the holder", async () => {
  await using folder = await temporary();
  const store = `--store=sqlite:${folder.path}/locks.db`;
  await using first = await startProgram([store]);
  await using second = await startProgram([store]);
  const replies = await Promise.all(
    Array.from({ length: 40 }, (_, n) => preReboot((n % 2 ? first : second).url, `client-${n}`)),
  );
  equal(replies.filter((reply) => reply.status === 200).length, 1);
  equal(replies.filter((reply) => reply.kind === "lock_held").length, 39);
});

/** Starts a request that cannot finish until the test unlocks the database file. */
async function startRequest(program: Program, path: string) {
  const requests = async () => {
    const metrics = await fetch(`${program.url}/metrics`).then((reply) => reply.text());
    return Number(/^fleetlock_lock_request_count (\d+)$/m.exec(metrics)?.[1]);
  };
  const before = await requests();
  const file = new DatabaseSync(path);
  file.exec("BEGIN IMMEDIATE");
  const reply = preReboot(program.url, ALICE);
  await until(async () => await requests() > before);
  return { reply, finish: () => file.close() };
}

/** Repeats a signal until the program ends: the second one counts only some time after the first. */
async function insist({ process }: Program): Promise<void> {
  let ended = false;
  process.status.then(() => ended = true);
  await until(() => {
    try {
      process.kill("SIGTERM");
    } catch (error) {
      // The program has already ended.
      if (!(error instanceof TypeError)) throw error;
    }
    return ended;
  });
}

for (const signal of ["SIGTERM", "SIGINT", "SIGQUIT"] as const) {
  test(`${signal} stops new connections, lets a running request finish, and ends the program with 0`, async () => {
    await using folder = await temporary();
    const path = `${folder.path}/locks.db`;
    await using program = await startProgram([`--store=sqlite:${path}`]);
    const { reply, finish } = await startRequest(program, path);
    program.process.kill(signal);
    await until(() => fetch(`${program.url}/-/ready`).then((reply) => reply.body?.cancel(), () => true));
    finish();
    deepEqual(await reply, { status: 200, text: "obtained reboot lease" });
    equal((await program.ended()).code, 0);
  });
}

test("a second signal ends the program at once with 1", async () => {
  await using folder = await temporary();
  const path = `${folder.path}/locks.db`;
  await using program = await startProgram([`--store=sqlite:${path}`]);
  const { reply, finish } = await startRequest(program, path);
  const cut = rejects(reply);
  program.process.kill("SIGTERM");
  await until(() => program.log().includes('"stopping"'));
  await insist(program);
  equal((await program.ended()).code, 1);
  await cut;
  finish();
});

test("the line that it listens names the SQLite file, from the root on", async () => {
  await using folder = await temporary();
  // The wrapper enters the folder, so that the path is relative to it.
  const inside = ["sh", "-c", `cd "${folder.path}" && exec "$@"`, "sh"];
  await using program = await startProgram(["--store=sqlite:locks.db"], {}, inside);
  const { store, file } = program.records().find(({ message }) => message === "listening")!;
  deepEqual([store, file], ["sqlite", `${await Deno.realPath(folder.path)}/locks.db`]);
});

test("the line that it listens names the namespace of the Leases, and a store in memory as it is", async () => {
  await using folder = await temporary();
  const kubeconfig = {
    clusters: [{ name: "nobody", cluster: { server: "http://127.0.0.1:9" } }],
    contexts: [{ name: "nobody", context: { cluster: "nobody", user: "nobody" } }],
    users: [{ name: "nobody", user: {} }],
    "current-context": "nobody",
  };
  await Deno.writeTextFile(`${folder.path}/kubeconfig`, JSON.stringify(kubeconfig));
  const KUBECONFIG = `${folder.path}/kubeconfig`;
  const placeOf = async (args: string[], environment: Record<string, string>) => {
    await using program = await startProgram(args, environment);
    const { store, namespace, file } = program.records().find(({ message }) => message === "listening")!;
    return { store, namespace, file };
  };
  deepEqual(await placeOf([], { KUBECONFIG, NAMESPACE: "reboots" }), {
    store: "kubernetes",
    namespace: "reboots",
    file: undefined,
  });
  deepEqual((await placeOf([], { KUBECONFIG })).namespace, "default");
  deepEqual(await placeOf(["--store=memory"], {}), { store: "memory", namespace: undefined, file: undefined });
});

test("the help names the variables that have no flag", async () => {
  const { stdout } = await runProgram(["--help"]);
  for (const name of ["NAMESPACE", "KUBECONFIG", "POD_NAME"]) match(stdout, new RegExp(`^  ${name} +[a-z]`, "m"));
});

test("the log is JSON lines with constant messages, at the configured level", async () => {
  await using program = await startProgram(["-store", "memory", "-log-level=debug"]);
  await preReboot(program.url, ALICE);
  await preReboot(program.url, BOB);
  await steadyState(program.url, ALICE);
  await program.stop();
  const lines = program.log().trimEnd().split("\n");
  const records = lines.map((line) => JSON.parse(line));
  for (const record of records) ok(record.time && record.level && record.message, JSON.stringify(record));
  const mine = records.filter((record) => record.id === ALICE || record.id === BOB);
  deepEqual(mine.map((record) => [record.level, record.group, record.outcome]), [
    ["info", "default", "granted"],
    ["debug", "default", "lock_held"],
    ["info", "default", "released"],
  ]);
});

test("a base path can be set, and a client whose base_url contains it is served", async () => {
  await using program = await startProgram(["--store=memory", "--base-path=/fleetlock/"]);
  equal((await preReboot(`${program.url}/fleetlock/`, ALICE)).status, 200);
  equal((await preReboot(program.url, ALICE)).kind, "not_found");
});

test("the default host of an address answers on IPv4, and the log names an address that a person understands", async () => {
  await using program = await startProgram(["--store=memory", "--address=:0"]);
  match(program.url, /^http:\/\/0\.0\.0\.0:[1-9]\d*$/);
  equal((await preReboot(program.url.replace("0.0.0.0", "127.0.0.1"), ALICE)).status, 200);
});

test("environment variables set settings, and flags take precedence over them", async () => {
  const environment = { FLEETLOCK_STORE: "memory", FLEETLOCK_MAX_GROUPS: "1", FLEETLOCK_LOG_FORMAT: "json" };
  await using program = await startProgram(["--log-format=text"], environment);
  equal((await preReboot(program.url, ALICE, "one")).status, 200);
  equal((await preReboot(program.url, ALICE, "two")).kind, "too_many_groups");
  await program.stop();
  match(program.log(), /^\S+Z INFO {4}reboot slot granted .* id=c988d2509fdf5cdcbed39037c56406fb group=one /m);
});

for (const signals of [1, 2]) {
  test(`if nobody reads the log, the program serves and ends at the ${signals === 1 ? "first" : "second"} signal`, async () => {
    await using folder = await temporary();
    const path = `${folder.path}/locks.db`;
    await using program = await startProgram([`--store=sqlite:${path}`], {}, [
      // This reads the first line, and then nothing more while the program runs.
      "bash",
      "-c",
      'exec 3>&2; exec "$@" 2> >(head -n 1 >&3; exec tail --pid=$$ -f /dev/null >/dev/null 2>&1 3>&-) 3>&-',
      "bash",
    ]);
    // The log is now larger than a pipe's capacity, 64 kB.
    for (let n = 0; n < 500; n++) equal((await preReboot(program.url, ALICE)).status, 200);
    if (signals === 2) {
      // The program concludes that nobody reads from a write that takes half a second. Nothing outside shows this.
      const full = performance.now();
      await until(() => performance.now() - full > 1_000);
      const { reply, finish } = await startRequest(program, path);
      const cut = rejects(reply);
      program.process.kill("SIGTERM");
      await until(() => fetch(`${program.url}/-/ready`).then((reply) => reply.body?.cancel(), () => true));
      await insist(program);
      await cut;
      finish();
    } else program.process.kill("SIGTERM");
    equal((await program.ended()).code, signals - 1);
  });
}

const answered: [string[], RegExp][] = [
  [["-version"], /^\d+\.\d+\.\d+(\+[0-9a-f]+)?\n$/],
  [["--version"], /^\d+\.\d+\.\d+(\+[0-9a-f]+)?\n$/],
  [["-help"], /^Usage: fleetlock .*--address.*--store/s],
  [["-h"], /^Usage: fleetlock/],
];
for (const [args, expected] of answered) {
  test(`${args.join(" ")} prints to stdout`, async () => {
    const ended = await runProgram(args);
    equal(ended.code, 0);
    match(ended.stdout, expected);
    equal(ended.stderr, "");
  });
}

const refused: [string[], Record<string, string>, number, RegExp][] = [
  [["--adress=x"], {}, 2, /^fleetlock: unknown option '--adress=x' \(Did you mean --address\?\)\n$/],
  [["--address"], {}, 2, /^fleetlock: option '--address <host:port>' argument missing\n$/],
  [["frobnicate"], {}, 2, /^fleetlock: too many arguments\. Expected 0 arguments but got 1/],
  [["--address=nonsense"], {}, 1, /^fleetlock: --address must be host:port/],
  [[], {}, 1, /^fleetlock: no Kubernetes cluster found: .*--store sqlite:PATH\n$/],
  [[], { KUBECONFIG: "/nowhere/kubeconfig" }, 1, /^fleetlock: .*\/nowhere\/kubeconfig.*\n$/],
  [["--store=sqlite:/nowhere/locks.db"], {}, 1, /^fleetlock: .*: the folder "\/nowhere" does not exist: .*\n$/],
  [["--store=sqlite:/proc/x.db"], {}, 1, /^fleetlock: Cannot use "\/proc\/x\.db" .* may not write there: choose .*\n$/],
  [["--store=memory", "--address=192.0.2.1:80"], {}, 1, /^fleetlock: cannot listen on 192\.0\.2\.1:80: .*\n$/],
];
for (const [args, environment, code, sentence] of refused) {
  test(`${[...args, ...Object.keys(environment)].join(" ") || "no cluster"} fails with one sentence`, async () => {
    const ended = await runProgram(args, environment);
    equal(ended.code, code, ended.stderr);
    match(ended.stderr, sentence);
    equal(ended.stderr.trimEnd().split("\n").length, 1, ended.stderr);
    equal(ended.stdout, "");
  });
}

test("an address in use is reported in one sentence", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const output = await programCommand(["--store=memory", `--address=127.0.0.1:${port}`]).output();
  equal(output.code, 1);
  match(
    new TextDecoder().decode(output.stderr),
    new RegExp(`^fleetlock: cannot listen on 127.0.0.1:${port}: the address is in use.*\n$`),
  );
});

test("a flag that may stand once is refused when it stands twice, and a selector that is wrong in any case", async () => {
  const cases: [string[], number, RegExp][] = [
    [["--address=:1", "--address=:1"], 2, /^fleetlock: --address is given twice$/m],
    [["--drain", "--drain=false"], 2, /^fleetlock: --drain is given twice$/m],
    [["simulate", "--seed=1", "-seed=2"], 2, /^fleetlock: --seed is given twice$/m],
    [
      ["--store=memory", "--drain=false", "--drain-skip-selector=a", "--drain-skip-selector=b in ()"],
      1,
      /^fleetlock: --drain-skip-selector: Cannot parse the label selector 'b in \(\)'/m,
    ],
  ];
  for (const [args, code, says] of cases) {
    const ended = await runProgram(args);
    equal(ended.code, code, ended.stderr);
    match(ended.stderr, says);
  }
});

test("a selector of the environment that is wrong is refused by the name of its variable", async () => {
  const variable = { FLEETLOCK_DRAIN_SKIP_SELECTOR: "b in ()" };
  const { code, stderr } = await runProgram(["--store=memory"], variable);
  equal(code, 1, stderr);
  match(stderr, /^fleetlock: FLEETLOCK_DRAIN_SKIP_SELECTOR: Cannot parse the label selector 'b in \(\)'/m);
});
