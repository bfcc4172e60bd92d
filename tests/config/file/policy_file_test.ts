/**
 * The configuration file: what it means, and what is said about one that is not valid.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { type FileContext, parsePolicyFile } from "../../../src/config/file/policy_file.ts";
import { DEFAULT_GROUP, DEFAULT_STUCK, NO_POLICIES, type PolicyOptions } from "../../../src/policies/options.ts";

const CLUSTER: FileContext = { store: "kubernetes", drainTimeoutMs: 15 * 60_000 };

function parse(text: string, context = CLUSTER): PolicyOptions {
  const parsed = parsePolicyFile(text, "f.yaml", context);
  if (parsed.kind === "invalid") throw new Error(parsed.errors.join("\n"));
  return parsed.options;
}

function errors(text: string, context = CLUSTER): readonly string[] {
  const parsed = parsePolicyFile(text, "f.yaml", context);
  return parsed.kind === "invalid" ? parsed.errors : [];
}

const FULL = `
timeZone: Europe/Berlin        # of all windows
allowUnknownGroups: false
stuck: {draining: 30m, rebooting: 1h}
defaults: {slots: 2, health: {budgets: refuse, notReady: 1}, drain: {onTimeout: proceed}, onNodeGone: {after: 10m}}
groups:
  workers:
    nodes: node-role.kubernetes.io/worker
    slots: 10%
    unavailable: count
    allow:
      - {days: [fri], at: "22:00", for: 6h, cutoff: 45m}
      - {days: [2nd tue, last sun], at: 01:00, for: 4h}
    freeze:
      - {from: 2026-12-20, to: 2027-01-06, reason: holidays}
      - {from: "2026-05-01T18:00", to: "2026-05-01T19:00"}
    settle: 10m
    mode: warn
    drain: {timeout: 20m, onTimeout: yield}
    onNodeGone: {action: release}
    health:
      notReady: 5%
      blockingPods: app=long-job
      budgets: ignore
      prometheus: {url: http://prometheus:9090, queries: [{name: burn, expr: "rate(x[5m]) > 1"}]}
      alertmanager: {url: https://alertmanager/am, alerts: "^Ceph.*", onError: allow, tokenFile: /t, caFile: /c}
  edge: {}
`;

Deno.test("a file with every key is parsed, and its defaults lie below each group", () => {
  const { groups, ...rest } = parse(FULL);
  const defaults = {
    ...DEFAULT_GROUP,
    slots: { kind: "number", value: 2 },
    health: { notReady: { kind: "number", value: 1 }, budgets: "refuse" },
    drain: { onTimeout: "proceed" },
    onNodeGone: { action: "keep", afterMs: 600_000 },
  };
  deepEqual(rest, {
    timeZone: "Europe/Berlin",
    allowUnknownGroups: false,
    stuck: { ...DEFAULT_STUCK, draining: 1_800_000, rebooting: 3_600_000 },
    defaults,
  });
  deepEqual([...groups.keys()], ["workers", "edge"]);
  deepEqual(groups.get("edge"), defaults);
  deepEqual(groups.get("workers"), {
    nodes: "node-role.kubernetes.io/worker",
    slots: { kind: "percent", value: 10 },
    unavailable: "count",
    allow: [
      {
        days: [{ kind: "weekly", weekday: 5 }],
        at: { hour: 22, minute: 0 },
        forMs: 6 * 3_600_000,
        cutoffMs: 45 * 60_000,
      },
      {
        days: [{ kind: "monthly", weekday: 2, nth: 2 }, { kind: "monthly", weekday: 7, nth: "last" }],
        at: { hour: 1, minute: 0 },
        forMs: 4 * 3_600_000,
      },
    ],
    freeze: [
      { from: "2026-12-20", to: "2027-01-06", reason: "holidays" },
      { from: "2026-05-01T18:00", to: "2026-05-01T19:00" },
    ],
    settleMs: 600_000,
    mode: "warn",
    drain: { timeoutMs: 1_200_000, onTimeout: "yield" },
    onNodeGone: { action: "release", afterMs: 600_000 },
    health: {
      notReady: { kind: "percent", value: 5 },
      blockingPods: "app=long-job",
      prometheus: {
        url: "http://prometheus:9090",
        queries: [{ name: "burn", expr: "rate(x[5m]) > 1" }],
        onError: "refuse",
      },
      alertmanager: {
        url: "https://alertmanager/am",
        alerts: "^Ceph.*",
        onError: "allow",
        tokenFile: "/t",
        caFile: "/c",
      },
    },
  });
});

Deno.test("a file that says nothing is as no file", () => {
  deepEqual(parse("{}"), NO_POLICIES);
  deepEqual(parse("\ufeff# nothing\n{}\n"), NO_POLICIES);
});

Deno.test("it is known which keys the file says and which it leaves to defaults", () => {
  const parsed = parsePolicyFile(FULL, "f.yaml", CLUSTER);
  ok(parsed.kind === "valid");
  const { top, defaults, groups } = parsed.said;
  deepEqual([...top], ["timeZone", "allowUnknownGroups", "stuck.draining", "stuck.rebooting", "defaults", "groups"]);
  deepEqual([...defaults], ["slots", "health.budgets", "health.notReady", "drain.onTimeout", "onNodeGone.after"]);
  deepEqual([...groups.get("edge")!], []);
  ok(groups.get("workers")!.has("drain.timeout") && groups.get("workers")!.has("health.prometheus"));
});

Deno.test("anchors repeat a value, and a group may have any name of the protocol", () => {
  const { groups } = parse("groups: {constructor: &a {slots: 3}, prototype: *a, 12: *a, A.b-c: {}}");
  deepEqual([...groups.keys()], ["constructor", "prototype", "12", "A.b-c"]);
  deepEqual(groups.get("prototype")!.slots, { kind: "number", value: 3 });
});

const group = (text: string) => `groups:\n  a: {${text}}\n`;

/** Files and everything that is said about them. */
const REFUSED: [name: string, text: string, expected: string[]][] = [
  ["an empty file", "", ["f.yaml:1:1: the file is empty: write {} if there is nothing to say"]],
  ["a file of comments", "# later\n", ["f.yaml:1:1: the file is empty: write {} if there is nothing to say"]],
  ["a text", "hello", ['f.yaml:1:1: the file must be a mapping of keys to values: it is "hello"']],
  ["a list", "- a", ["f.yaml:1:1: the file must be a mapping of keys to values: it is a list"]],
  ["two documents", "{}\n---\n{}\n", ["f.yaml:4:1: the file must be one document: it has several"]],
  ["a broken text", "groups:\n  a: {slots: 1\n", [
    "f.yaml:3:1: the file is not valid YAML or JSON: deficient indentation",
  ]],
  ["a tag", group("slots: !!int 5"), ["f.yaml:2:14: groups.a.slots: must not have a tag"]],
  ["an unknown alias", group("slots: *x"), [
    'f.yaml:2:14: groups.a.slots: stands for the anchor "x", which is not defined before it',
    "f.yaml:2:14: groups.a.slots: must be an integer from 1 to 999999999 or a percentage above 0%, as in 2 or 10%: it is empty",
  ]],
  ["a key that stands twice", "groups: {}\ntimeZone: UTC\ngroups: {}", [
    "f.yaml:3:1: groups: stands here a second time",
  ]],
  ["a group that stands twice", "groups:\n  a: {}\n  a: {}", ["f.yaml:3:3: groups.a: stands here a second time"]],
  ["unknown keys at the top", "group: {}\nslots: 3\n", [
    'f.yaml:1:1: group: is unknown: did you mean "groups"?',
    "f.yaml:2:1: slots: is unknown: the keys here are timeZone, allowUnknownGroups, stuck, defaults, groups",
  ]],
  [
    "unknown keys everywhere",
    group("slot: 1, drain: {timeOut: 5m, x: 1}, allow: [{at: 01:00, for: 1h, Cutoff: 0s}], constructor: 1"),
    [
      'f.yaml:2:7: groups.a.slot: is unknown: did you mean "slots"?',
      'f.yaml:2:24: groups.a.drain.timeOut: is unknown: did you mean "timeout"?',
      "f.yaml:2:37: groups.a.drain.x: is unknown: the keys here are timeout, onTimeout",
      'f.yaml:2:73: groups.a.allow[0].Cutoff: is unknown: did you mean "cutoff"?',
      "f.yaml:2:87: groups.a.constructor: is unknown: the keys here are nodes, slots, unavailable, allow, freeze, settle, mode, drain, onNodeGone, health",
    ],
  ],
  ["wrong names of groups", "groups:\n  a b: {}\n  ? {x: 1}\n  : {}\n", [
    'f.yaml:2:3: groups."a b": must be the name of a group: 1 to 63 letters, digits, "." and "-"',
    "f.yaml:3:5: groups: must have texts as its keys",
  ]],
  ["groups that are a list", "groups: [a]", ["f.yaml:1:9: groups: must be a mapping of groups: it is a list"]],
  ["an empty group", "groups:\n  a:\n  b: {}", [
    "f.yaml:2:3: groups.a: must be a mapping of keys to values: it is empty",
  ]],
  ["a stage that does not exist and one without time", "stuck: {rebooted: 5m, blocked: 0s}", [
    'f.yaml:1:9: stuck.rebooted: is unknown: did you mean "rebooting"?',
    'f.yaml:1:32: stuck.blocked: must be a duration from 1ms to 596h, as in 90s, 15m or 1h30m: it is "0s"',
  ]],
  ["wrong values at the top", "timeZone: Europe/Berlni\nallowUnknownGroups: 1", [
    'f.yaml:1:11: timeZone: must be the name of a time zone, as in UTC or Europe/Berlin: it is "Europe/Berlni"',
    "f.yaml:2:21: allowUnknownGroups: must be true or false: it is 1",
  ]],
  ["more slots than a Lease has room for", "defaults: {slots: 128}\ngroups: {a: {slots: 129}}", [
    "f.yaml:2:21: groups.a.slots: must be at most 128, since the Lease of a group has no room for more holders: it is 129",
  ]],
  [
    "wrong slots",
    "defaults: {slots: 0}\ngroups: {a: {slots: 1.5}, b: {slots: 0%}, c: {slots: 200%}, d: {slots: [1]}, e: {slots: -1.5}}",
    [
      "f.yaml:1:19: defaults.slots: must be an integer from 1 to 999999999 or a percentage above 0%, as in 2 or 10%: it is 0",
      "f.yaml:2:21: groups.a.slots: must be an integer from 1 to 999999999 or a percentage above 0%, as in 2 or 10%: it is 1.5",
      'f.yaml:2:38: groups.b.slots: must be an integer from 1 to 999999999 or a percentage above 0%, as in 2 or 10%: it is "0%"',
      'f.yaml:2:54: groups.c.slots: must be an integer from 1 to 999999999 or a percentage above 0%, as in 2 or 10%: it is "200%"',
      "f.yaml:2:72: groups.d.slots: must be an integer from 1 to 999999999 or a percentage above 0%, as in 2 or 10%: it is a list",
      "f.yaml:2:89: groups.e.slots: must be an integer from 1 to 999999999 or a percentage above 0%, as in 2 or 10%: it is -1.5",
    ],
  ],
  ["wrong words", group("unavailable: yes, mode: dry, drain: {onTimeout: wait}, health: {budgets: true}"), [
    'f.yaml:2:20: groups.a.unavailable: must be ignore or count: it is "yes"',
    'f.yaml:2:31: groups.a.mode: must be enforce or warn: it is "dry"',
    'f.yaml:2:55: groups.a.drain.onTimeout: must be refuse, proceed, delete or yield: it is "wait"',
    "f.yaml:2:80: groups.a.health.budgets: must be refuse or ignore: it is true",
  ]],
  ["wrong selectors", group('nodes: "a b", health: {blockingPods: ""}'), [
    'f.yaml:2:14: groups.a.nodes: must be a label selector, as in app=web or node-role.kubernetes.io/worker: it is "a b"',
    'f.yaml:2:44: groups.a.health.blockingPods: must be a label selector, as in app=web or node-role.kubernetes.io/worker: it is ""',
  ]],
  [
    "wrong windows",
    `groups:
  a:
    allow:
      - {at: "24:00", for: 6}
      - {days: [], at: 5:00, for: 1d}
      - {days: [friday, 6th tue, 2nd], at: "05:00", for: 0s, cutoff: soon}
      - {for: 1h}
      - fri
      -
`,
    [
      'f.yaml:4:14: groups.a.allow[0].at: must be a time of day from 00:00 to 23:59, as in "22:00": it is "24:00"',
      "f.yaml:4:28: groups.a.allow[0].for: must be a duration from 1ms to 596h, as in 90s, 15m or 1h30m: it is 6",
      "f.yaml:5:16: groups.a.allow[1].days: must be a list of weekdays that is not empty, or left out for every day: it is an empty list",
      'f.yaml:5:24: groups.a.allow[1].at: must be a time of day from 00:00 to 23:59, as in "22:00": it is "5:00"',
      'f.yaml:5:35: groups.a.allow[1].for: must be a duration from 1ms to 596h, as in 90s, 15m or 1h30m: it is "1d"',
      'f.yaml:6:17: groups.a.allow[2].days[0]: must be a weekday, as in fri, "2nd tue" or "last sun" (mon, tue, wed, thu, fri, sat, sun): it is "friday"',
      'f.yaml:6:25: groups.a.allow[2].days[1]: must be a weekday, as in fri, "2nd tue" or "last sun" (mon, tue, wed, thu, fri, sat, sun): it is "6th tue"',
      'f.yaml:6:34: groups.a.allow[2].days[2]: must be a weekday, as in fri, "2nd tue" or "last sun" (mon, tue, wed, thu, fri, sat, sun): it is "2nd"',
      'f.yaml:6:58: groups.a.allow[2].for: must be a duration from 1ms to 596h, as in 90s, 15m or 1h30m: it is "0s"',
      'f.yaml:6:70: groups.a.allow[2].cutoff: must be a duration from 0s to 596h, as in 90s, 15m or 1h30m: it is "soon"',
      "f.yaml:7:9: groups.a.allow[3].at: is missing",
      'f.yaml:8:9: groups.a.allow[4]: must be a mapping of keys to values: it is "fri"',
      "f.yaml:9:7: groups.a.allow[5]: must be a mapping of keys to values: it is empty",
    ],
  ],
  ["windows that are not a list", group("allow: {at: 01:00}, freeze: 1"), [
    "f.yaml:2:14: groups.a.allow: must be a list of windows: it is a mapping",
    "f.yaml:2:35: groups.a.freeze: must be a list of freezes: it is 1",
  ]],
  [
    "wrong freezes",
    `groups:
  a:
    freeze:
      - {from: 2026-02-30, to: 2026-03-01}
      - {from: 2026-12-20, to: 2026-12-19, reason: ""}
      - {from: 2026-12-20, to: 2026-12-19}
      - {from: "2026-12-20T18:00", to: "2026-12-20T18:00"}
      - {from: 2026-12-20}
      - {from: 20.12.2026, to: 2026-12-20 18:00}
`,
    [
      'f.yaml:4:16: groups.a.freeze[0].from: must be a date or a date and time, as in 2026-12-20 or 2026-12-20T18:00: it is "2026-02-30"',
      'f.yaml:5:52: groups.a.freeze[1].reason: must be a text that is not empty: it is ""',
      'f.yaml:6:32: groups.a.freeze[2].to: must be after the beginning, 2026-12-20: it is "2026-12-19"',
      'f.yaml:7:40: groups.a.freeze[3].to: must be after the beginning, 2026-12-20T18:00: it is "2026-12-20T18:00"',
      "f.yaml:8:9: groups.a.freeze[4].to: is missing",
      'f.yaml:9:16: groups.a.freeze[5].from: must be a date or a date and time, as in 2026-12-20 or 2026-12-20T18:00: it is "20.12.2026"',
      'f.yaml:9:32: groups.a.freeze[5].to: must be a date or a date and time, as in 2026-12-20 or 2026-12-20T18:00: it is "2026-12-20 18:00"',
    ],
  ],
  ["what becomes of holds whose Nodes are gone", group("onNodeGone: {action: free, after: 9m59s, when: 1}"), [
    'f.yaml:2:28: groups.a.onNodeGone.action: must be keep or release: it is "free"',
    'f.yaml:2:41: groups.a.onNodeGone.after: must be a duration from 10m to 596h, as in 30m or 2h: it is "9m59s"',
    "f.yaml:2:48: groups.a.onNodeGone.when: is unknown: the keys here are action, after",
  ]],
  ["a word in the place of a mapping", group("onNodeGone: release"), [
    'f.yaml:2:19: groups.a.onNodeGone: must be a mapping of keys to values: it is "release"',
  ]],
  ["wrong durations", group("settle: 1 hour, drain: {timeout: 0s}"), [
    'f.yaml:2:15: groups.a.settle: must be a duration from 0s to 596h, as in 90s, 15m or 1h30m: it is "1 hour"',
    'f.yaml:2:40: groups.a.drain.timeout: must be a duration from 1ms to 596h, as in 90s, 15m or 1h30m: it is "0s"',
  ]],
  [
    "wrong health",
    `groups:
  a:
    health:
      notReady: many
      prometheus: {url: prometheus, queries: []}
      alertmanager: {url: "http://me:secret@am", alerts: "(", onError: ignore}
  b:
    health:
      prometheus:
        url: http://p
        queries: [{name: q, expr: up}, {name: q, expr: ""}]
        onError: allow
  c:
    health:
      prometheus:
        url: http://p
        queries: [{name: q, expr: up}, {name: q, expr: down}]
  d:
    health: {alertmanager: {}}
`,
    [
      'f.yaml:4:17: groups.a.health.notReady: must be a whole number or a percentage, as in 1 or 5%: it is "many"',
      'f.yaml:5:25: groups.a.health.prometheus.url: must be an http or https URL without a user (use tokenFile), a query or a fragment, as in http://prometheus.monitoring:9090: it is "prometheus"',
      "f.yaml:5:46: groups.a.health.prometheus.queries: must be a list of queries that is not empty: it is an empty list",
      'f.yaml:6:27: groups.a.health.alertmanager.url: must be an http or https URL without a user (use tokenFile), a query or a fragment, as in http://prometheus.monitoring:9090: it is "http://…@am"',
      'f.yaml:6:58: groups.a.health.alertmanager.alerts: must be a regular expression, as in "^Ceph.*": it is "("',
      'f.yaml:6:72: groups.a.health.alertmanager.onError: must be refuse or allow: it is "ignore"',
      'f.yaml:11:56: groups.b.health.prometheus.queries[1].expr: must be a PromQL expression: it is ""',
      'f.yaml:17:47: groups.c.health.prometheus.queries[1].name: must have a name that no other query has: it is "q"',
      "f.yaml:19:28: groups.d.health.alertmanager.url: is missing",
      "f.yaml:19:28: groups.d.health.alertmanager.alerts: is missing",
    ],
  ],
  [
    "windows that are too short",
    `defaults: {allow: [{at: 01:00, for: 30m}], drain: {timeout: 20m}}
groups:
  a: {drain: {timeout: 30m}}
  b: {allow: [{at: 01:00, for: 20m}]}
  c: {allow: [{at: 01:00, for: 1h, cutoff: 60m}, {at: 01:00, for: 1m, cutoff: 0s}]}
`,
    [
      'f.yaml:1:37: defaults.allow[0].for: must be longer than the time limit of a drain, 30m, which is the cutoff where none is said: it is "30m"',
      'f.yaml:4:32: groups.b.allow[0].for: must be longer than the time limit of a drain, 20m, which is the cutoff where none is said: it is "20m"',
      'f.yaml:5:32: groups.c.allow[0].for: must be longer than the window\'s cutoff, 1h: it is "1h"',
    ],
  ],
];

for (const [name, text, expected] of REFUSED) {
  Deno.test(`all that is wrong is said about ${name}`, () => deepEqual(errors(text), expected));
}

Deno.test("what needs a cluster is refused by line where there is none, and the rest is not", () => {
  const text = `defaults: {slots: 20%, unavailable: ignore}
groups:
  a:
    nodes: app=web
    drain: {timeout: 5m}
    onNodeGone: {action: release}
    health:
      notReady: 1
      blockingPods: app=web
      budgets: refuse
      prometheus: {url: http://p, queries: [{name: q, expr: up}]}
    allow: [{at: 01:00, for: 1m}]
`;
  for (const store of ["sqlite", "memory"] as const) {
    const needs = `needs a Kubernetes cluster: with --store ${store} nobody knows the hosts' Nodes and pods`;
    deepEqual(errors(text, { store }), [
      `f.yaml:1:19: defaults.slots: ${needs}: give a number`,
      `f.yaml:1:37: defaults.unavailable: ${needs}`,
      `f.yaml:4:12: groups.a.nodes: ${needs}`,
      `f.yaml:5:12: groups.a.drain: ${needs}`,
      `f.yaml:6:17: groups.a.onNodeGone: ${needs}`,
      `f.yaml:8:17: groups.a.health.notReady: ${needs}`,
      `f.yaml:9:21: groups.a.health.blockingPods: ${needs}`,
      `f.yaml:10:16: groups.a.health.budgets: ${needs}`,
    ]);
    deepEqual(errors("stuck: {rebooting: 1h}", { store }), [`f.yaml:1:8: stuck: ${needs}`]);
  }
});

Deno.test("that holds are freed whose Nodes are gone needs drains, which note the Nodes", () => {
  const text = "defaults: {onNodeGone: {action: release, after: 30m}}\ngroups: {a: {onNodeGone: {action: keep}}}";
  deepEqual(errors(text, { store: "kubernetes" }), [
    "f.yaml:1:33: defaults.onNodeGone.action: release needs drains: with --drain=false no hold notes its Node",
  ]);
  deepEqual(errors(text, CLUSTER), []);
});

Deno.test("without drains, only a cutoff that the file names shortens a window", () => {
  equal(errors("groups: {a: {allow: [{at: 01:00, for: 1m}]}}", { store: "memory" }).length, 0);
  equal(errors("groups: {a: {allow: [{at: 01:00, for: 1m, cutoff: 1m}]}}", { store: "memory" }).length, 1);
});

Deno.test("a text that refers to itself many times costs little", () => {
  const levels = Array.from({ length: 30 }, (_, n) => `  - &l${n + 1} [${`*l${n},`.repeat(9)}]`);
  const text = `timeZone: &l0 [x]\ndefaults:\n${levels.join("\n")}\n`;
  const began = performance.now();
  ok(errors(text).length >= 2);
  ok(performance.now() - began < 2_000);
});
