/**
 * The commands about configuration files, and the files in examples.
 *
 * @module
 */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { run } from "../../src/cli/cli.ts";
import { checkConfig } from "../../src/cli/config.ts";
import type { MakeCalendar } from "../../src/config/file/calendar_report.ts";
import { type FileContext, parsePolicyFile } from "../../src/config/file/policy_file.ts";
import type { Io } from "../../src/cli/command.ts";

const examples = fileURLToPath(new URL("../../examples/config/", import.meta.url));

/** Runs a command line and returns what it wrote. */
async function fleetlock(args: string[], environment: Record<string, string> = {}) {
  const { io, written } = collect(environment);
  const code = await run(args, new AbortController().signal, io);
  return { code, ...written };
}

function collect(environment: Record<string, string> = {}) {
  const written = { stdout: "", stderr: "" };
  const io: Io = {
    stdout: (text) => written.stdout += text,
    stderr: (text) => written.stderr += text,
    isTerminal: () => false,
    environment: () => environment,
    screen: () => undefined,
    ask: () => Promise.resolve(undefined),
    onHangup: () => ({ [Symbol.dispose]() {} }),
  };
  return { io, written };
}

function parse(text: string, context: FileContext) {
  const parsed = parsePolicyFile(text, "f", context);
  if (parsed.kind === "invalid") throw new Error(parsed.errors.join("\n"));
  return parsed;
}

const EXAMPLES: readonly (readonly [name: string, flags: string[], context: FileContext])[] = [
  ["small-cluster.yaml", [], { store: "kubernetes", drainTimeoutMs: 900_000 }],
  ["three-tiers.yaml", [], { store: "kubernetes", drainTimeoutMs: 900_000 }],
  ["edge-hosts.yaml", ["--store=sqlite:locks.db"], { store: "sqlite" }],
];

Deno.test("every example is checked here", () => {
  const names = [...Deno.readDirSync(examples)].map(({ name }) => name).filter((name) => name.endsWith(".yaml"));
  deepEqual(names.sort(), EXAMPLES.map(([name]) => name).sort());
});

for (const [name, flags, context] of EXAMPLES) {
  Deno.test(`${name} is valid, and config check prints a file that means the same`, async () => {
    const { code, stdout, stderr } = await fleetlock(["config", "check", examples + name, ...flags]);
    deepEqual({ code, stderr }, { code: 0, stderr: "" });
    const withoutFlags = stdout.replace(/^.*# default, from the flags\n/gm, "").replace(
      /^ *drain:\n(?! *(timeout|onT))/gm,
      "",
    );
    deepEqual(parse(withoutFlags, context).options, parse(await Deno.readTextFile(examples + name), context).options);
    match(await Deno.readTextFile(examples + name), /^# yaml-language-server: \$schema=\.\/fleetlock\.schema\.json\n/);
  });
}

Deno.test("the JSON Schema in examples is the one that config schema prints", async () => {
  const { code, stdout } = await fleetlock(["config", "schema"]);
  equal(code, 0);
  const message = "run: fleetlock config schema > examples/config/fleetlock.schema.json, then deno fmt";
  deepEqual(JSON.parse(await Deno.readTextFile(`${examples}fleetlock.schema.json`)), JSON.parse(stdout), message);
});

Deno.test("the JSON Schema has every key with a description, allows no other, and does not reject valid values", async () => {
  const schema = JSON.parse((await fleetlock(["config", "schema"])).stdout);
  const seen: string[] = [];
  // deno-lint-ignore no-explicit-any
  const visit = (node: any, path: string) => {
    if (node.type === "object" && node.properties !== undefined) {
      equal(node.additionalProperties, false, path);
      for (const [key, value] of Object.entries<{ description?: string }>(node.properties)) {
        seen.push(`${path}${key}`);
        if (!["name", "defaults"].includes(key)) ok(value.description, `${path}${key}`);
        visit(value, `${path}${key}.`);
      }
    }
    if (node.items !== undefined) visit(node.items, path);
  };
  visit(schema, "");
  visit(schema.properties.groups.additionalProperties, "groups.*.");
  ok(seen.includes("groups.*.health.prometheus.queries.expr"));
  equal(
    seen.filter((path) => path.startsWith("groups.*.")).length,
    seen.filter((path) => path.startsWith("defaults.")).length,
  );
  match(schema.properties.groups.propertyNames.pattern, /a-zA-Z0-9/);
  const { drain, health, slots } = schema.properties.defaults.properties;
  deepEqual(drain.properties.onTimeout.enum, ["refuse", "proceed", "delete", "yield"]);
  deepEqual(health.properties.alertmanager.required, ["url", "alerts"]);
  ok(new RegExp(slots.anyOf[1].pattern).test("10%"));
});

Deno.test("docs/policies.md describes every key, and the files that it and README show are valid", async () => {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const policies = await Deno.readTextFile(`${root}docs/policies.md`);
  const schema = JSON.parse((await fleetlock(["config", "schema"])).stdout);
  const described = new Set(
    [...policies.matchAll(/^\| `(?:prometheus\.|alertmanager\.)?([\w$-]+)`/gm)].map(([, key]) => key),
  );
  // deno-lint-ignore no-explicit-any
  const keysOf = (node: any): string[] =>
    Object.entries(node?.properties ?? node?.items?.properties ?? {}).flatMap((
      [key, value],
    ) => [key, ...keysOf(value)]);
  // The keys of one query stand in the row of the list.
  const inRow = ["name", "expr", "prometheus", "alertmanager"];
  deepEqual(keysOf(schema).filter((key) => !described.has(key) && !inRow.includes(key)), []);
  for (const text of [policies, await Deno.readTextFile(`${root}README.md`)]) {
    const files = [...text.matchAll(/^```yaml\n(timeZone[^`]*)```$/gm)].map(([, file]) => file!);
    equal(files.length, 1);
    equal(parse(files[0]!, EXAMPLES[0]![2]).options.defaults.allow.length, 1);
  }
});

Deno.test("config check marks what the file leaves to its defaults, to the program and to the flags", async () => {
  const path = await Deno.makeTempFile({ suffix: ".json" });
  try {
    await Deno.writeTextFile(
      path,
      '{"stuck": {"rebooting": "40m"}, "defaults": {"settle": "5m"}, "groups": {"12": {"slots": 2, "drain": {"timeout": "1h"}}}}',
    );
    const { stdout } = await fleetlock(["config", "check", path, "-drain-timeout", "20m"], {
      FLEETLOCK_DRAIN_ON_TIMEOUT: "proceed",
    });
    equal(
      stdout.slice(stdout.indexOf("groups:")).split("\n#")[0]!.trimEnd(),
      `groups:
  "12":
    slots: 2
    allow: []  # default
    freeze: []  # default
    settle: 5m  # defaults
    mode: enforce  # default
    unavailable: ignore  # default
    drain:
      timeout: 1h
      onTimeout: proceed  # default, from the flags
    onNodeGone:
      action: keep  # default
      after: 1h  # default`,
    );
    match(stdout, /^stuck:\n {2}draining: 25m {2}# default, from the flags\n {2}blocked: 10m {2}# default\n/m);
    match(stdout, /^ {2}rebooting: 40m$/m);
    match(stdout, /^ {4}timeout: 20m {2}# default, from the flags$/m);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("config check fails with a line for each error, and without a file or a cluster", async () => {
  const wrong = await fleetlock(["config", "check", `${examples}three-tiers.yaml`, "--store", "memory"]);
  deepEqual({ code: wrong.code, stdout: wrong.stdout }, { code: 1, stdout: "" });
  equal(wrong.stderr.trimEnd().split("\n").length, 13);
  match(wrong.stderr, /^\S+three-tiers\.yaml:25:12: groups\.control-plane\.nodes: needs a Kubernetes cluster/);
  const missing = await fleetlock(["config", "check", "/nowhere.yaml"]);
  equal(missing.code, 1);
  match(missing.stderr, /^fleetlock: cannot read the configuration file \/nowhere\.yaml: .*\n$/);
  const flag = await fleetlock(["config", "check", "/nowhere.yaml", "--store=x"]);
  deepEqual([flag.code, flag.stdout], [1, ""]);
  const time = await fleetlock(["config", "check", `${examples}small-cluster.yaml`, "--at", "noon"]);
  deepEqual([time.code, time.stdout], [2, ""]);
  match(time.stderr, /^fleetlock: --at must be a time from 1970 to 9998, .*: it is "noon"\n$/);
  for (
    const at of ["+275760-09-13T00:00:00Z", "-271821-04-20T00:00:00Z", "2026-11-27T22:30[Asia/Tokyo]", "0000-01-01"]
  ) {
    equal((await fleetlock(["config", "check", `${examples}small-cluster.yaml`, `--at=${at}`])).code, 2, at);
  }
  equal((await fleetlock(["config"])).code, 2);
});

Deno.test("config check refuses every file that a server would not read", async () => {
  const path = await Deno.makeTempFile({ suffix: ".yaml" });
  try {
    for (
      const [content, why] of [
        [new Uint8Array(1_048_577).fill(0x20), "the file is larger than 1 MiB"],
        [Uint8Array.of(0x23, 0xfc), "the file is not UTF-8"],
      ] as const
    ) {
      await Deno.writeFile(path, content);
      const { code, stderr } = await fleetlock(["config", "check", path]);
      deepEqual([code, stderr], [1, `fleetlock: cannot read the configuration file ${path}: ${why}\n`]);
    }
    match((await fleetlock(["config", "check", examples])).stderr, /: it is not a regular file\n$/);
    for (const text of ["\ufeffgroups: {a: {slots: 2}}\n", "groups:\r\n  a:\r\n    slots: 2\r\n"]) {
      await Deno.writeTextFile(path, text);
      match((await fleetlock(["config", "check", path])).stdout, /^ {4}slots: 2$/m);
    }
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("config check lists openings, and the rules that speak at a time in the file's time zone", async () => {
  const asked: unknown[] = [];
  const hour = 3_600_000;
  const makeCalendar: MakeCalendar = ({ allow, freeze, timeZone, cutoffMs }) => ({
    openings(from, count) {
      asked.push({
        from: new Date(from).toISOString(),
        count,
        timeZone,
        cutoffMs,
        rules: [allow.length, freeze.length],
      });
      return [{ from, to: from + hour }, { from: from + 24 * hour, to: Infinity }];
    },
    at: (moment) => ({
      outside: { until: moment + hour },
      frozen: { from: moment - hour, until: moment + 2 * hour, reason: "holidays" },
    }),
  });
  const check = async (at: string) => {
    const { io, written } = collect();
    const path = `${examples}small-cluster.yaml`;
    equal(await checkConfig({ path, at, flags: {}, makeCalendar }, io), 0);
    return written.stdout.slice(written.stdout.indexOf("# other groups"));
  };
  const expected = `# other groups, slots are granted:
#   from Sat 2026-10-24 23:00+02:00 to Sun 2026-10-25 00:00+02:00
#   from Sun 2026-10-25 22:00+01:00 to ever
# other groups, rules that speak at Sat 2026-10-24 23:00+02:00:
#   freeze: from Sat 2026-10-24 22:00+02:00 to Sun 2026-10-25 01:00+02:00 (holidays)
#   allow: the next window opens at Sun 2026-10-25 00:00+02:00
`;
  equal(await check("2026-10-24T23:00"), expected);
  equal(await check("2026-10-24T21:00:00Z"), expected);
  const question = { from: "2026-10-24T21:00:00.000Z", count: 5, timeZone: "Europe/Berlin", cutoffMs: 900_000 };
  deepEqual(asked, [{ ...question, rules: [1, 1] }, { ...question, rules: [1, 1] }]);
});
