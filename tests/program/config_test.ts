/** The program with a configuration file that changes. @module */

import { equal, match, ok } from "node:assert/strict";
import { until } from "../support/condition.ts";
import { runProgram, startProgram } from "../support/program.ts";
import { preReboot, steadyState } from "../support/zincati.ts";

Deno.test("a bad configuration file ends the program at the start with all errors", async () => {
  const path = await Deno.makeTempFile({ prefix: "fleetlock-test-", suffix: ".yaml" });
  try {
    await Deno.writeTextFile(path, "slots: 1\ngroups: {a: {slots: 0}}\n");
    const { code, stderr } = await runProgram(["--store=memory", `--config=${path}`, "--address=127.0.0.1:0"]);
    equal(code, 1);
    const [first, ...rest] = stderr.trimEnd().split("\n");
    equal(first, "fleetlock: the configuration file is not valid:");
    equal(rest.length, 2);
    match(rest[0]!, /\.yaml:1:1: slots: is unknown: /);
    match(rest[1]!, /\.yaml:2:21: groups\.a\.slots: must be /);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("log, metrics and readiness tell of a new version, of a bad one, and of what SIGHUP finds", async () => {
  const path = await Deno.makeTempFile({ prefix: "fleetlock-test-", suffix: ".yaml" });
  await Deno.writeTextFile(path, "defaults: {slots: 1}\n");
  await using program = await startProgram(["--store=memory"], { FLEETLOCK_CONFIG: path });
  try {
    const page = async (name: string) => {
      const response = await fetch(`${program.url}${name}`);
      return { status: response.status, text: await response.text() };
    };
    const metric = async (name: string) => new RegExp(`^${name} (.*)$`, "m").exec((await page("/metrics")).text)?.[1];
    const hash = async () =>
      /fleetlock_config_info\{hash="([0-9a-f]{16})"\} 1\n/.exec((await page("/metrics")).text)?.[1];
    const first = await hash();
    ok(first);
    equal((await page("/-/ready")).text, "ok\n");
    equal(await metric("fleetlock_config_stale"), "0");

    await Deno.writeTextFile(path, "defaults: {slots: 2}\n");
    await until(async () => await hash() !== first);
    const second = await hash();
    ok(second);

    await Deno.writeTextFile(path, "defaults: {slots: none}\nx: 1\n");
    await until(async () => await metric("fleetlock_config_stale") === "1");
    equal(await metric("fleetlock_config_reload_failures_total"), "1");
    equal(await hash(), second);
    const { status, text } = await page("/-/ready");
    equal(status, 200);
    match(
      text,
      /^ok\nthe configuration file cannot be used, and .*:1:19: defaults\.slots: must be .* \(and 1 more\)\n$/,
    );
    const failures = () => program.records().filter(({ level }) => level === "error").length;
    await until(() => failures() === 2, { what: () => `two errors in the log:\n${program.log()}` });

    program.process.kill("SIGHUP");
    await until(async () => await metric("fleetlock_config_reload_failures_total") === "2");
    await Deno.writeTextFile(path, "defaults: {slots: 2}\n");
    await until(async () => (await page("/-/ready")).text === "ok\n");
    equal(await hash(), second);
    equal((await program.stop()).code, 0);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("a window decides in the whole program, and config check says when it opens", async () => {
  const path = await Deno.makeTempFile({ prefix: "fleetlock-test-", suffix: ".yaml" });
  // Executables on an older base have Temporal only with a flag.
  const at = new Date(Date.now() + 3 * 3_600_000).toISOString().slice(11, 16);
  const workers = { allow: [{ at, for: "2h" }] };
  await Deno.writeTextFile(path, JSON.stringify({ timeZone: "Europe/Berlin", groups: { workers: {} } }));
  try {
    await using program = await startProgram(["--store=memory", `--config=${path}`]);
    equal((await preReboot(program.url, "first", "workers")).status, 200);
    equal((await steadyState(program.url, "first", "workers")).status, 200);
    await Deno.writeTextFile(path, JSON.stringify({ timeZone: "UTC", groups: { workers } }));
    await until(async () => {
      const { kind } = await preReboot(program.url, "second", "workers");
      // A window never speaks against a holder.
      await steadyState(program.url, "second", "workers");
      return kind === "outside_window";
    }, { what: "the window refuses" });
    const { code, stdout } = await runProgram(["config", "check", path, "--store=memory"]);
    equal(code, 0);
    equal(stdout.split("\n").filter((line) => new RegExp(`^#   from .* ${at}\\+00:00 to `).test(line)).length, 5);
  } finally {
    await Deno.remove(path);
  }
});
