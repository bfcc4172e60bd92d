/** What is reported about drains: each report to each target, whether or not the others are there. @module */

import { deepEqual, doesNotThrow, equal } from "node:assert/strict";
import type { DrainEnd } from "../../src/keeper/drain/drain.ts";
import { DrainMemory } from "../../src/keeper/drain/drain_memory.ts";
import type { DrainTask } from "../../src/keeper/drain/drain_task.ts";
import { type EvictionAnswer, type PodView, viewPod } from "../../src/keeper/drain/pods.ts";
import { DrainReports } from "../../src/keeper/reports.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import type { StayingPod } from "../../src/lock/yes.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { recordingTargets } from "./recording_targets.ts";

const HOLD = { group: parseGroup("default")!, id: parseClientId("alice")!, since: 1 };
const FIELDS = { node: "a", group: "default", id: "alice" };
const WHO = "alice in group default";
const ERROR = new Error("away");

function taskOf(change: Partial<DrainTask> & { group?: string } = {}): DrainTask {
  const { group, ...more } = change;
  const owner = { namespace: "ops", ...HOLD, ...(group && { group: parseGroup(group)! }) };
  return { node: "a", uid: "uid of a", memory: new DrainMemory(), again: false, owner, ...more };
}

/** A pod that is left, and how a note names it. */
const left = (name: string) => ({ namespace: "apps", name, reason: `why ${name}` });
const noteOf = (name: string) => `apps/${name}: why ${name}`;

const seen = (name: string) => ({ namespace: "apps", name, toleratesCordon: true, controller: "c" });
const STAYING: StayingPod[] = [
  { pod: seen("web"), why: "tolerates_cordon" },
  { pod: seen("db"), why: "put_back" },
  { pod: seen("job"), why: "kubelet_dead" },
];
const STAYING_PODS = [
  { namespace: "apps", name: "web", reason: "it tolerates the cordon and was created after the grant" },
  { namespace: "apps", name: "db", reason: "its controller puts it back after each eviction" },
  {
    namespace: "apps",
    name: "job",
    reason: "its grace period is over, and the kubelet that would confirm its end does not answer",
  },
];
const STAYING_NOTE = STAYING_PODS.map(({ name, reason }) => `apps/${name}: ${reason}`).join("; ");

const event = (reason: string, note: string, warning = false) => ["event", "Node a", reason, note, warning];

/** How a drain may end, and what is told of that beside the numbers. It took 90 seconds. */
const ENDS: [
  what: string,
  end: DrainEnd | undefined,
  result: string,
  log: [level: string, message: string, more?: Record<string, unknown>],
  event: unknown[] | undefined,
  again?: boolean,
][] = [
  ["empty", { kind: "emptied" }, "drained", ["info", "the node is empty"], undefined],
  [
    "with pods left, to go on",
    { kind: "proceed", node: "a", pods: [left("x")] },
    "proceeded",
    ["warning", "drain timed out: the reboot goes on with pods left", { pods: [left("x")] }],
    event("DrainTimedOut", `Not drained in time; the reboot goes on with pods left: ${noteOf("x")}`, true),
  ],
  [
    "once more with pods left, to go on",
    { kind: "proceed", node: "a", pods: [left("x")] },
    "proceeded",
    ["warning", "drain timed out: the reboot goes on with pods left", { pods: [left("x")] }],
    undefined,
    true,
  ],
  [
    "with pods left",
    { kind: "failed", node: "a", pods: ["1", "2", "3", "4", "5"].map(left) },
    "failed",
    ["error", "drain failed: the client keeps its slot", { pods: ["1", "2", "3", "4", "5"].map(left) }],
    event(
      "DrainTimedOut",
      `Not drained; the reboot is refused: ${["1", "2", "3", "4", "5"].map(noteOf).join("; ")}`,
      true,
    ),
  ],
  [
    "with many pods left, for a reason, and yields",
    { kind: "failed", node: "a", pods: ["1", "2", "3", "4", "5", "6", "7"].map(left), reason: "others", yields: true },
    "failed",
    ["warning", "drain timed out: the client is to yield its slot", {
      pods: ["1", "2", "3", "4", "5", "6", "7"].map(left),
      reason: "others",
    }],
    event(
      "DrainTimedOut",
      `Not drained; the reboot is refused: others; ${["1", "2", "3", "4", "5"].map(noteOf).join("; ")}; and 2 more`,
      true,
    ),
  ],
  [
    "for a reason that is not about pods",
    { kind: "failed", node: "a", pods: [], reason: "others" },
    "failed",
    ["error", "drain failed: the client keeps its slot", { pods: [], reason: "others" }],
    event("DrainTimedOut", "Not drained; the reboot is refused: others", true),
  ],
  [
    "because its hold has ended",
    { kind: "abandoned" },
    "abandoned",
    ["warning", "drain stopped: its hold has ended"],
    event("Uncordoned", `Stopped the drain for ${WHO}, which no longer holds its slot`),
  ],
  [
    "because the process ends",
    { kind: "draining", node: "a", pods: [left("x")] },
    "interrupted",
    ["info", "drain interrupted: this process ends"],
    undefined,
  ],
  ["by a fault", undefined, "error", ["error", "drain stopped by a fault", { error: ERROR }], undefined],
];

for (const [what, end, result, [level, message, more], expected, again = false] of ENDS) {
  Deno.test(`a drain that ends ${what} is told with how long it took: ${result}`, async () => {
    const { targets, told } = recordingTargets();
    const clock = new FakeClock();
    const reports = new DrainReports(targets, clock);
    const task = taskOf({ again });
    reports.drainBegan(task);
    deepEqual(told.splice(0), [["info", "draining the node", FIELDS]]);
    await clock.advance(90_000);
    reports.drainEnded(task, end, end === undefined ? ERROR : undefined);
    deepEqual(told, [
      ["podsLeft", "default", 0, 0],
      ["drainEnded", "default", result, 90],
      [level, message, { ...FIELDS, seconds: 90, ...more }],
      ...(expected === undefined ? [] : [expected]),
    ]);
    for (const targets of [{}, { observer: {} }]) {
      const silent = new DrainReports(targets, clock);
      silent.drainBegan(task);
      doesNotThrow(() => silent.drainEnded(task, end, ERROR));
    }
  });
}

for (
  const [phase, staying, expected] of [
    ["draining", [], ["info", "the node is drained", FIELDS]],
    ["draining", STAYING, ["warning", "the node is drained, and some pods stay", { ...FIELDS, pods: STAYING_PODS }]],
    // The host asks again before it reboots.
    ["drained", [], undefined],
    ["drained", STAYING, ["warning", "the node is drained, and some pods stay", { ...FIELDS, pods: STAYING_PODS }]],
  ] as const
) {
  Deno.test(`a yes in phase ${phase} with ${staying.length} pods that stay is told: ${expected?.[1] ?? "not again"}`, () => {
    const { targets, told } = recordingTargets();
    new DrainReports(targets, new FakeClock()).proven(HOLD, { name: "a", uid: "u", phase }, staying);
    const rest = staying.length === 0 ? "" : `; these pods stay: ${STAYING_NOTE}`;
    deepEqual(
      told,
      expected === undefined ? [] : [expected, event("Drained", `Drained for the reboot of ${WHO}${rest}`)],
    );
    doesNotThrow(() => new DrainReports({}, new FakeClock()).proven(HOLD, { name: "a", uid: "u", phase }, staying));
  });
}

/** What is told while a drain runs. */
const EVENTS: [what: string, report: (reports: DrainReports, task: DrainTask) => void, told: unknown[]][] = [
  [
    "a hold that is about another node",
    (reports) => reports.moved(HOLD, { name: "old", uid: "u", phase: "draining" }, { name: "a", uid: "v" }),
    [
      ["warning", "the client runs on another node than the one that its hold notes: draining that too", {
        ...FIELDS,
        noted: "old",
      }],
    ],
  ],
  ["a cordon", (reports, task) => reports.cordoned(task), [
    ["info", "cordoned the node", FIELDS],
    event("Cordoned", `Cordoned for the reboot of ${WHO}`),
  ]],
  ["deletions", (reports, task) => reports.deleting(task, [left("x")]), [
    ["warning", "drain timed out: deleting the pods that are left", { ...FIELDS, pods: [left("x")] }],
    event("DrainTimedOut", `Not drained in time; deleting the pods that are left: ${noteOf("x")}`, true),
  ]],
  ["volumes", (reports, task) => reports.stillAttached(task, ["pv"]), [
    ["warning", "volumes stay attached to the drained node", { ...FIELDS, volumes: ["pv"] }],
  ]],
  ["pods that stay", (reports, task) => reports.staying(task, STAYING), [
    ["info", "pods are left on the emptied node", { ...FIELDS, pods: STAYING_PODS }],
  ]],
  ["an administrator who uncordons", (reports, task) => reports.uncordonedByOthers(task), [
    ["warning", "somebody uncordoned the node during its drain", FIELDS],
    event("DrainBlocked", `Somebody uncordoned it during the drain for ${WHO}`, true),
  ]],
  ["a call that failed", (reports, task) => reports.retrying(task, ERROR), [
    ["warning", "a call of the drain failed and will be repeated", { ...FIELDS, error: ERROR }],
  ]],
];

for (const [what, report, expected] of EVENTS) {
  Deno.test(`what is told during a drain: ${what}`, () => {
    const { targets, told } = recordingTargets();
    report(new DrainReports(targets, new FakeClock()), taskOf());
    deepEqual(told, expected);
    doesNotThrow(() => report(new DrainReports({}, new FakeClock()), taskOf()));
  });
}

const view = (name: string): PodView => viewPod({ metadata: { name, namespace: "apps", uid: `uid of ${name}` } });
const POD = { ...FIELDS, namespace: "apps", pod: "web" };

/** Each answer to an eviction, how it is logged, and the note of an Event. */
const ANSWERS: [answer: EvictionAnswer, level: string, note?: string][] = [
  [{ kind: "accepted" }, "info"],
  [{ kind: "gone" }, "info"],
  [{ kind: "replaced" }, "info"],
  [
    { kind: "blocked", budget: "pdb", reason: "its budget" },
    "info",
    "PodDisruptionBudget apps/pdb allows no disruption now",
  ],
  [{ kind: "blocked", reason: "its budget" }, "info", "Pod apps/web: its budget"],
  [{ kind: "several_budgets", reason: "two of them" }, "warning", "Pod apps/web: two of them"],
  [{ kind: "namespace_ending", reason: "its namespace" }, "info"],
  [{ kind: "failed", reason: "a webhook" }, "warning"],
];

for (const [answer, level, note] of ANSWERS) {
  const done = !("reason" in answer);
  Deno.test(`an eviction that is answered with ${JSON.stringify(answer)} is told`, () => {
    const { targets, told } = recordingTargets();
    const reports = new DrainReports(targets, new FakeClock());
    const task = taskOf();
    reports.evicted(task, view("web"), answer);
    deepEqual(told, [
      ["eviction", answer.kind],
      done
        ? [level, "evicted a pod", { ...POD, result: answer.kind }]
        : [level, "cannot evict a pod now", { ...POD, reason: answer.reason }],
      ...(note === undefined ? [] : [event("DrainBlocked", `${note}; the reboot of ${WHO} waits`, true)]),
    ]);
    doesNotThrow(() => new DrainReports({}, new FakeClock()).evicted(task, view("web"), answer));
    doesNotThrow(() => new DrainReports({ observer: {} }, new FakeClock()).evicted(task, view("web"), answer));
  });
}

Deno.test("why a pod cannot be evicted is logged once for each reason, pod and drain, and counted each time", () => {
  const { targets, told } = recordingTargets();
  const reports = new DrainReports(targets, new FakeClock());
  const [one, other] = [taskOf(), taskOf({ node: "b" })];
  reports.drainBegan(one);
  reports.drainBegan(other);
  const logged = (task: DrainTask, name: string, reason: string) => {
    told.splice(0);
    reports.evicted(task, view(name), { kind: "blocked", budget: "pdb", reason });
    equal(told.filter(([what]) => what === "eviction").length, 1);
    equal(told.filter(([what]) => what === "event").length, 1);
    return told.filter(([what]) => what === "info").length;
  };
  deepEqual([logged(one, "web", "1"), logged(one, "web", "1"), logged(one, "web", "2"), logged(one, "web", "1")], [
    1,
    0,
    1,
    1,
  ]);
  deepEqual([logged(one, "db", "1"), logged(other, "web", "1"), logged(other, "web", "1")], [1, 1, 0]);
  // A drain that is over is forgotten.
  reports.drainEnded(one, { kind: "emptied" });
  reports.drainBegan(one);
  equal(logged(one, "web", "1"), 1);
});

Deno.test("the pods that are left are summed over the drains of a group, and told when they change", () => {
  const { targets, told } = recordingTargets();
  const reports = new DrainReports(targets, new FakeClock());
  const [one, two, other] = [taskOf(), taskOf({ node: "b" }), taskOf({ group: "other" })];
  const progress = (task: DrainTask, all: number, blocked: number) => {
    told.splice(0);
    reports.progress(task, all, blocked);
    return told.map(([, group, ...numbers]) => [group, ...numbers].join(" "));
  };
  deepEqual(progress(one, 3, 1), ["default 3 1"]);
  deepEqual(progress(one, 3, 1), []);
  deepEqual(progress(one, 3, 2), ["default 3 2"]);
  deepEqual(progress(one, 4, 2), ["default 4 2"]);
  deepEqual(progress(two, 5, 1), ["default 9 3"]);
  deepEqual(progress(other, 2, 2), ["other 2 2"]);
  deepEqual([one, two, other, taskOf()].map((task) => reports.blockedOf(task)), [2, 1, 2, 0]);
  told.splice(0);
  reports.drainEnded(one, { kind: "emptied" });
  deepEqual(told[0], ["podsLeft", "default", 5, 1]);
  equal(reports.blockedOf(one), 0);
});

Deno.test("nothing is kept of a drain that has ended: neither when it began, nor what was said", async () => {
  const { targets, told } = recordingTargets();
  const clock = new FakeClock();
  const reports = new DrainReports(targets, clock);
  const task = taskOf();
  reports.drainBegan(task);
  await clock.advance(1_000);
  const numbers = () => told.splice(0).filter(([what]) => what === "drainEnded");
  for (const seconds of [1, 0]) {
    reports.drainEnded(task, { kind: "emptied" });
    deepEqual(numbers(), [["drainEnded", "default", "drained", seconds]]);
  }
  // The answer to an eviction may come last.
  for (let times = 0; times < 2; times++) reports.evicted(task, view("web"), { kind: "failed", reason: "late" });
  equal(told.filter(([, message]) => message === "cannot evict a pod now").length, 2);
});
