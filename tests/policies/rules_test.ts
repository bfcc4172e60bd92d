import { deepEqual, equal, match } from "node:assert/strict";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { FREE, type GroupState } from "../../src/lock/semaphore.ts";
import { reasonsOf, RULES } from "../../src/policies/rules.ts";
import { RULE_NAMES } from "../../src/policies/skips.ts";
import type { Snapshot } from "../../src/policies/snapshot.ts";
import { heldBy, HOST, node, NOT_ASKED, NOW, options, snapshot, WORKERS } from "./support.ts";

const MINUTE = 60_000;
const failed = { kind: "failed" as const, reason: "it does not answer" };

/** A situation in which exactly one rule speaks. */
interface Case {
  readonly name: string;
  readonly snapshot: Snapshot;
  /** The reason as `rule: kind: sentence`. */
  readonly says: string;
  /** When it ends, as milliseconds from now. */
  readonly ends?: number;
}

const nodes = (...value: ReturnType<typeof node>[]) => ({ kind: "known" as const, value });
const noted = (notes: GroupState["notes"]): GroupState => ({ ...FREE, notes });

const OTHERS = parseGroup("others")!;

/** The cordon of the hold that {@link heldBy} makes for a node. */
function cordonOf(name: string, group = WORKERS) {
  return { group, id: parseClientId(`id-of-${name}`)!, since: NOW - MINUTE };
}

const cases: readonly Case[] = [
  {
    name: "a group that the file does not name",
    snapshot: snapshot({ isNamed: false, allowUnknownGroups: false }),
    says: 'allowUnknownGroups: unknown_group: the configuration file does not name the group "workers"',
  },
  {
    name: "a pause",
    snapshot: snapshot({}, noted({ pause: { reason: "storage is rebuilt", by: "ann", until: NOW + 90 * MINUTE } })),
    says: 'paused: paused: group "workers" is paused by ann until 2026-11-26T13:30:00Z: storage is rebuilt',
    ends: 90 * MINUTE,
  },
  {
    name: "a pause that nobody explained",
    snapshot: snapshot({}, noted({ pause: {} })),
    says: 'paused: paused: group "workers" is paused',
  },
  {
    name: "a node on hold",
    snapshot: snapshot({ nodes: nodes(node("a", { isAsking: true, hold: "\u001b[2Jdebugging" })) }),
    says: 'hold: node_on_hold: node "a" is on hold: \ufffd[2Jdebugging',
  },
  {
    name: "a node on hold without a reason",
    snapshot: snapshot({ nodes: nodes(node("a", { isAsking: true, hold: "" })) }),
    says: 'hold: node_on_hold: node "a" is on hold',
  },
  {
    name: "a node on hold with a blank reason",
    snapshot: snapshot({ nodes: nodes(node("a", { isAsking: true, hold: " \n" })) }),
    says: 'hold: node_on_hold: node "a" is on hold',
  },
  {
    name: "a freeze that begins now",
    snapshot: snapshot({
      calendar: { during: { from: NOW, to: NOW + 1 }, isOpen: false, frozen: { from: NOW, until: NOW + MINUTE } },
    }),
    says: 'freeze: frozen: group "workers" is frozen until Thu 2026-11-26 13:01 +01:00',
    ends: MINUTE,
  },
  {
    name: "a freeze",
    snapshot: snapshot({
      calendar: {
        during: { from: NOW, to: NOW + 1 },
        isOpen: false,
        frozen: { from: NOW - MINUTE, until: NOW + MINUTE, reason: "holidays" },
      },
    }),
    says: 'freeze: frozen: group "workers" is frozen until Thu 2026-11-26 13:01 +01:00 (holidays)',
    ends: MINUTE,
  },
  {
    name: "a freeze that comes before a drain would end",
    snapshot: snapshot({
      calendar: {
        during: { from: NOW, to: NOW + 1 },
        isOpen: false,
        frozen: { from: NOW + MINUTE, until: NOW + 2 * MINUTE },
      },
    }),
    says: 'freeze: frozen: group "workers" has no time left for a drain before its freeze from ' +
      "Thu 2026-11-26 13:01 +01:00 until Thu 2026-11-26 13:02 +01:00",
    ends: 2 * MINUTE,
  },
  {
    name: "a closed window",
    snapshot: snapshot({
      calendar: {
        during: { from: NOW, to: NOW + 1 },
        isOpen: false,
        outside: { until: NOW + 34 * 60 * MINUTE },
        next: NOW + 34 * 60 * MINUTE,
      },
    }),
    says: 'allow: outside_window: group "workers" is outside its maintenance windows: it opens at ' +
      "Fri 2026-11-27 23:00 +01:00",
    ends: 34 * 60 * MINUTE,
  },
  {
    name: "a closed window of which only the next one is known",
    snapshot: snapshot({
      calendar: { during: { from: NOW, to: NOW + 1 }, isOpen: false, outside: {}, next: NOW + MINUTE },
    }),
    says: 'allow: outside_window: group "workers" is outside its maintenance windows: it opens at ' +
      "Thu 2026-11-26 13:01 +01:00",
    ends: MINUTE,
  },
  {
    name: "a closed window whose next time is frozen",
    snapshot: snapshot({
      calendar: {
        during: { from: NOW, to: NOW + 1 },
        isOpen: false,
        outside: { until: NOW + MINUTE },
        next: NOW + 5 * MINUTE,
      },
    }),
    says: 'allow: outside_window: group "workers" is outside its maintenance windows: it opens at ' +
      "Thu 2026-11-26 13:05 +01:00",
    ends: MINUTE,
  },
  {
    name: "a window that never opens",
    snapshot: snapshot({ calendar: { during: { from: NOW, to: NOW + 1 }, isOpen: false, outside: {} } }),
    says: 'allow: outside_window: group "workers" is outside its maintenance windows: it does not open within a year',
  },
  {
    name: "a window that seems open, by a time that was not heard lately",
    snapshot: snapshot({
      isTimeFresh: false,
      options: options({ allow: [{ days: [], at: { hour: 1, minute: 0 }, forMs: 1 }] }),
    }),
    says: "allow: policy_undecided: the time is not known well enough to tell whether a maintenance window is open",
  },
  {
    name: "a freeze that does not seem to have begun, by a time that was not heard lately",
    snapshot: snapshot({
      isTimeFresh: false,
      options: options({ freeze: [{ from: "2027-01-01", to: "2027-01-01" }] }),
    }),
    says: "allow: policy_undecided: the time is not known well enough to tell whether a maintenance window is open",
  },
  {
    name: "a host that has yielded",
    snapshot: snapshot(
      {},
      noted({
        deferred: [{
          id: HOST,
          node: "a",
          until: NOW + 30 * MINUTE,
          count: 1,
          pods: ["web/x: its budget allows none"],
        }],
      }),
    ),
    says: 'deferred: deferred: node "a" could not be drained in time, because of web/x: its budget allows none: ' +
      "others come first until 2026-11-26T12:30:00Z",
    ends: 30 * MINUTE,
  },
  {
    name: "a group that settles",
    snapshot: snapshot({ options: options({ settleMs: 10 * MINUTE }) }, noted({ returned: NOW - 4 * MINUTE })),
    says: 'settle: settling: group "workers" settles after the reboot of a host until Thu 2026-11-26 13:06 +01:00',
    ends: 6 * MINUTE,
  },
  {
    name: "a group that settles for so short a time that seconds count",
    snapshot: snapshot({ options: options({ settleMs: 50_000 }) }, noted({ returned: NOW - 10_000 })),
    says: 'settle: settling: group "workers" settles after the reboot of a host until Thu 2026-11-26 13:00:40 +01:00',
    ends: 40_000,
  },
  {
    name: "a node that could not be read",
    snapshot: snapshot({ asking: failed }),
    says: "hold: node_on_hold: nobody knows whether the node is on hold: it does not answer",
  },
  {
    name: "a share of nodes that cannot be counted",
    snapshot: snapshot({ options: options({ slots: { kind: "percent", value: 10 } }), nodes: failed }),
    says: "slots: policy_undecided: the nodes of the group cannot be counted: it does not answer",
  },
  {
    name: "a share of nodes that nobody has counted",
    snapshot: snapshot({
      options: options({ slots: { kind: "percent", value: 10 } }),
      nodes: { kind: "not_asked" },
    }),
    says: "slots: policy_undecided: the nodes of the group cannot be counted: nobody has asked for them yet",
  },
  {
    name: "unavailable nodes that take the slots",
    snapshot: snapshot({
      options: options({ slots: { kind: "number", value: 2 }, unavailable: "count" }),
      nodes: nodes(node("a", { isReady: false }), node("b", { isCordoned: true }), node("c")),
    }),
    says: 'unavailable: fleet_unhealthy: nodes that are unavailable take 2 of the 2 reboot slots of group "workers": ' +
      "a (not ready), b (cordoned)",
  },
  {
    name: "an unavailable node beside a holder",
    snapshot: snapshot({
      options: options({ slots: { kind: "number", value: 2 }, unavailable: "count" }),
      nodes: nodes(node("a", { isReady: false }), node("h", { isReady: false })),
    }, heldBy("h")),
    says: 'unavailable: fleet_unhealthy: nodes that are unavailable take 1 of the 2 reboot slots of group "workers": ' +
      "a (not ready)",
  },
  {
    name: "unavailable nodes that cannot be counted",
    snapshot: snapshot({ options: options({ unavailable: "count" }), nodes: failed }),
    says: "unavailable: policy_undecided: the unavailable nodes of the group cannot be counted: it does not answer",
  },
  {
    name: "more nodes that are not ready than may be",
    snapshot: snapshot({
      options: options({ health: { notReady: { kind: "number", value: 1 } } }),
      nodes: nodes(node("a", { isReady: false }), node("b", { isReady: false }), node("c", { isCordoned: true })),
    }),
    says: 'health.notReady: fleet_unhealthy: 2 nodes of group "workers" are not ready and at most 1 may be: ' +
      "a (not ready), b (not ready)",
  },
  {
    name: "a larger share of nodes that are not ready than may be",
    snapshot: snapshot({
      options: options({ health: { notReady: { kind: "percent", value: 49 } } }),
      nodes: nodes(node("a", { isReady: false }), node("b")),
    }),
    says:
      'health.notReady: fleet_unhealthy: 1 node of group "workers" is not ready and at most 0 may be: a (not ready)',
  },
  {
    name: "nodes that are not ready and whose cordons are left of holds that are over",
    snapshot: snapshot({
      options: options({ health: { notReady: { kind: "number", value: 0 } } }),
      nodes: nodes(
        node("freed", { isReady: false, isCordoned: true, cordonedFor: [cordonOf("gone")] }),
        node("again", { isReady: false, isCordoned: true, cordonedFor: [{ ...cordonOf("h"), since: 1 }] }),
        node("elsewhere", { isReady: false, isCordoned: true, cordonedFor: [cordonOf("h", OTHERS)] }),
      ),
      question: { group: WORKERS, id: HOST, state: heldBy("h"), groups: new Map([[OTHERS, { state: FREE }]]) },
    }),
    says: 'health.notReady: fleet_unhealthy: 3 nodes of group "workers" are not ready and at most 0 may be: ' +
      "freed (not ready), again (not ready), elsewhere (not ready)",
  },
  {
    name: "nodes of which nobody knows whether they are ready",
    snapshot: snapshot({ options: options({ health: { notReady: { kind: "number", value: 1 } } }), nodes: failed }),
    says: "health.notReady: policy_undecided: the nodes of the group cannot be counted: it does not answer",
  },
  {
    name: "pods that block",
    snapshot: snapshot({
      options: options({ health: { blockingPods: "app=job" } }),
      health: { ...NOT_ASKED, blockingPods: { kind: "known", value: ["1", "2", "3", "4", "5", "6", "7"] } },
    }),
    says: "health.blockingPods: pods_blocking: pods that block a reboot run on the node: 1; 2; 3; 4; 5; and 2 more",
  },
  {
    name: "as many pods that block as a sentence names",
    snapshot: snapshot({
      options: options({ health: { blockingPods: "app=job" } }),
      health: { ...NOT_ASKED, blockingPods: { kind: "known", value: ["1", "2", "3", "4", "5"] } },
    }),
    says: "health.blockingPods: pods_blocking: pods that block a reboot run on the node: 1; 2; 3; 4; 5",
  },
  {
    name: "budgets that allow nothing",
    snapshot: snapshot({
      options: options({ health: { budgets: "refuse" } }),
      health: { ...NOT_ASKED, budgets: { kind: "known", value: ["web/x: its budget"] } },
    }),
    says: "health.budgets: budget_exhausted: pods of the node cannot be evicted now: web/x: its budget",
  },
  {
    name: "budgets that cannot be asked",
    snapshot: snapshot({
      options: options({ health: { budgets: "refuse" } }),
      health: { ...NOT_ASKED, budgets: failed },
    }),
    says: "health.budgets: policy_undecided: the budgets of the node's pods cannot be asked: it does not answer",
  },
  {
    name: "a query with a result",
    snapshot: snapshot({
      options: options({ health: { prometheus: { url: "", queries: [], onError: "refuse" } } }),
      health: { ...NOT_ASKED, prometheus: { kind: "known", value: [{ name: "lag", detail: "7" }] } },
    }),
    says: "health.prometheus: fleet_unhealthy: queries speak against a reboot: lag (7)",
  },
  {
    name: "a Prometheus that does not answer",
    snapshot: snapshot({
      options: options({ health: { prometheus: { url: "", queries: [], onError: "refuse" } } }),
      health: { ...NOT_ASKED, prometheus: failed },
    }),
    says: "health.prometheus: policy_undecided: Prometheus cannot be asked: it does not answer",
  },
  {
    name: "an alert",
    snapshot: snapshot({
      options: options({ health: { alertmanager: { url: "", alerts: ".*", onError: "refuse" } } }),
      health: { ...NOT_ASKED, alertmanager: { kind: "known", value: [{ name: "CephDown", detail: "osd=3" }] } },
    }),
    says: "health.alertmanager: fleet_unhealthy: alerts speak against a reboot: CephDown (osd=3)",
  },
  {
    name: "an Alertmanager that does not answer",
    snapshot: snapshot({
      options: options({ health: { alertmanager: { url: "", alerts: ".*", onError: "refuse" } } }),
      health: { ...NOT_ASKED, alertmanager: failed },
    }),
    says: "health.alertmanager: policy_undecided: Alertmanager cannot be asked: it does not answer",
  },
];

for (const { name, snapshot, says, ends } of cases) {
  Deno.test(`one rule speaks: ${name}`, () => {
    const reasons = reasonsOf(snapshot);
    deepEqual(reasons.map(({ rule, kind, sentence }) => `${rule}: ${kind}: ${sentence}`), [says]);
    equal(reasons[0]!.until, ends === undefined ? undefined : NOW + ends);
  });
}

Deno.test("every rule speaks in some case of this table", () => {
  const speaking = new Set(cases.map(({ says }) => says.split(":")[0]));
  deepEqual(RULES.map(({ name }) => name).filter((name) => !speaking.has(name)), []);
});

const silent: readonly [string, Snapshot][] = [
  ["nothing is wrong", snapshot()],
  ["a named group where others are unknown", snapshot({ allowUnknownGroups: false })],
  ["a node that nobody has looked for yet", snapshot({ asking: { kind: "not_asked" } })],
  ["a group that settles, where no host came back", snapshot({ options: options({ settleMs: 1_000 }) })],
  ["a return in the future, in a group that does not settle", snapshot({}, noted({ returned: NOW + MINUTE }))],
  [
    "a share of nodes that can be counted",
    snapshot({ options: options({ slots: { kind: "percent", value: 50 } }), nodes: nodes(node("a"), node("b")) }),
  ],
  [
    "slots that holders take, and no node that is unavailable",
    snapshot({
      options: options({ slots: { kind: "number", value: 1 }, unavailable: "count" }),
      nodes: nodes(node("h"), node("b")),
    }, heldBy("h")),
  ],
  ["a pause that has ended", snapshot({}, noted({ pause: { until: NOW } }))],
  ["another node on hold", snapshot({ nodes: nodes(node("a", { hold: "x" })) })],
  ["a time that was not heard lately, without windows and freezes", snapshot({ isTimeFresh: false })],
  [
    "the deferral of another host, or one that has ended",
    snapshot(
      {},
      noted({
        deferred: [
          { id: "other" as typeof HOST, node: "b", until: NOW + 1, count: 1, pods: [] },
          { id: HOST, node: "a", until: NOW, count: 1, pods: [] },
        ],
      }),
    ),
  ],
  ["a group that has settled", snapshot({ options: options({ settleMs: 1_000 }) }, noted({ returned: NOW - 1_000 }))],
  ["a return in a group that does not settle", snapshot({}, noted({ returned: NOW }))],
  [
    "unavailable nodes that leave a slot",
    snapshot({
      options: options({ slots: { kind: "number", value: 2 }, unavailable: "count" }),
      nodes: nodes(node("a", { isReady: false }), node("other", { isReady: false, isInGroup: false })),
    }),
  ],
  [
    "unavailable nodes that do not count",
    snapshot({
      options: options({ slots: { kind: "number", value: 2 }, unavailable: "count", health: { notReady: zero() } }),
      nodes: nodes(
        node("asking", { isReady: false, isAsking: true }),
        // Its hold is over, and it is well: the cordon is about to be lifted.
        node("back", { isCordoned: true, cordonedFor: [cordonOf("gone")] }),
        // The holder notes no node, or another one.
        node("ours", { isReady: false, isCordoned: true, cordonedFor: [cordonOf("h")] }),
        node("h", { isReady: false, isCordoned: true }),
      ),
    }, heldBy("h")),
  ],
  [
    "nodes of holders of other groups",
    snapshot({
      options: options({ unavailable: "count", health: { notReady: zero() } }),
      nodes: nodes(node("b", { isReady: false, isCordoned: true, cordonedFor: [cordonOf("h", OTHERS)] })),
      question: { group: WORKERS, id: HOST, state: FREE, groups: new Map([[OTHERS, { state: heldBy("h") }]]) },
    }),
  ],
  [
    "as many nodes that are not ready as may be",
    snapshot({
      options: options({ health: { notReady: { kind: "percent", value: 50 } } }),
      nodes: nodes(node("a", { isReady: false }), node("b"), node("c", { isInGroup: false, isReady: false })),
    }),
  ],
  [
    "health that is well",
    snapshot({
      options: options({ health: everything("refuse") }),
      health: {
        prometheus: { kind: "known", value: [] },
        alertmanager: { kind: "known", value: [] },
        blockingPods: { kind: "known", value: [] },
        budgets: { kind: "known", value: [] },
      },
    }),
  ],
  ["health that was not asked yet", snapshot({ options: options({ health: everything("refuse") }) })],
  [
    "sources that do not answer and need not",
    snapshot({
      options: options({ health: { ...everything("allow"), blockingPods: undefined, budgets: undefined } }),
      health: { ...NOT_ASKED, prometheus: failed, alertmanager: failed },
    }),
  ],
  [
    "health that nobody asked for",
    snapshot({
      health: {
        prometheus: { kind: "known", value: [{ name: "a", detail: "b" }] },
        alertmanager: failed,
        blockingPods: { kind: "known", value: ["a"] },
        budgets: failed,
      },
    }),
  ],
];

function zero() {
  return { kind: "number" as const, value: 0 };
}

function everything(onError: "refuse" | "allow") {
  return {
    prometheus: { url: "", queries: [], onError },
    alertmanager: { url: "", alerts: ".*", onError },
    blockingPods: "app=job",
    budgets: "refuse" as const,
  };
}

for (const [name, each] of silent) {
  Deno.test(`no rule speaks: ${name}`, () => deepEqual(reasonsOf(each), []));
}

Deno.test("the reason that lasts longest comes first, and one without an end before all others", () => {
  const reasons = reasonsOf(snapshot({
    options: options({ settleMs: MINUTE, health: { blockingPods: "a" } }),
    health: { ...NOT_ASKED, blockingPods: { kind: "known", value: ["x"] } },
  }, noted({ returned: NOW, pause: { until: NOW + 2 * MINUTE }, deferred: [] })));
  deepEqual(reasons.map(({ rule }) => rule), ["health.blockingPods", "paused", "settle"]);
});

Deno.test("text from elsewhere is made printable and short in every sentence", () => {
  const long = `\u001b]0;x\u0007${"y".repeat(5_000)}\u202e`;
  const reasons = reasonsOf(snapshot(
    {
      options: options({ health: everything("refuse") }),
      nodes: nodes(node("a", { isAsking: true, hold: long })),
      health: {
        prometheus: { kind: "known", value: [{ name: long, detail: long }] },
        alertmanager: { kind: "failed", reason: long },
        blockingPods: { kind: "known", value: [long, long, long, long, long, long] },
        budgets: { kind: "known", value: [long] },
      },
    },
    noted({
      pause: { reason: long, by: long },
      deferred: [{ id: HOST, node: long, until: NOW + 1, count: 1, pods: [long] }],
    }),
  ));
  equal(reasons.length, 7);
  for (const { sentence } of reasons) {
    // deno-lint-ignore no-control-regex
    match(sentence, /^[^\u0000-\u001f\u007f\u202e]{1,3500}$/);
  }
});

Deno.test("each rule has the name that a skip may have, in the same order", () => {
  deepEqual(RULES.map(({ name }) => name), [...RULE_NAMES]);
});
