/** Would a client be granted a slot now: the reasons, the next time, and the command that changes it. @module */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { ClientFacts } from "../../src/operate/client_facts.ts";
import { explain } from "../../src/operate/explain.ts";
import { mergeAnswers } from "../../src/operate/overview.ts";
import { parseGroup } from "../../src/lock/identity.ts";
import type { Account, GroupAccount } from "../../src/status/account.ts";
import { account, before, client, group, holder } from "../support/accounts.ts";

const WORKERS = parseGroup("workers")!;
const ID = "aaaabbbbccccddddeeeeffff00001111";
/** Another client's id that begins as the first one. */
const OTHER_ID = "aaaabbbbccccddddeeeeffff00002222";

function overview(more: Partial<GroupAccount>, whole: Partial<Account> = {}) {
  return mergeAnswers([{ replica: "a", account: account([group(more)], whole) }])!;
}

/** What a cluster and a store tell of the client of `node-b`, which holds nothing. */
function facts(more: Partial<ClientFacts> = {}): ClientFacts {
  const client = { name: "node-b", node: "node-b", ids: [ID] };
  return { client, reasons: [], unknown: [], notes: [], held: null, isBlind: false, ...more };
}

/** What is known of a client where only a server was asked. */
function onlyServer(name: string): ClientFacts {
  const { held: _, ...rest } = facts({ client: { name, ids: [] }, isBlind: true });
  return rest;
}

/** An account of servers that drain no nodes. */
const NO_DRAINS = { areNodesInStep: undefined };

Deno.test("nothing speaks against a grant", () => {
  const { verdict, reasons, next, command, unknown } = explain(overview({}), WORKERS, facts());
  deepEqual({ verdict, reasons, next, command, unknown }, {
    verdict: "granted",
    reasons: [],
    next: undefined,
    command: undefined,
    unknown: [],
  });
});

Deno.test("whether a group gets slots that no server has an account of is unknown", () => {
  const { verdict, unknown } = explain(overview({}), parseGroup("new")!, facts());
  equal(verdict, "unknown");
  match(unknown.join(), /what the rules of group "new" say: .*allowUnknownGroups.*the configuration file tells/);
});

for (
  const [rule, tells] of [
    ["health.prometheus", /^what Prometheus says .*run the queries/],
    ["health.alertmanager", /^what Alertmanager says .*active alerts/],
    ["health.blockingPods", /^whether pods of the node block it .*kubectl get pods/],
    ["health.budgets", /^whether budgets block it .*kubectl get pdb/],
    ["drain", /^whether the drain would refuse pods .*fleetlock check/],
    ["health.later", /^what the rule health\.later says/],
  ] as const
) {
  Deno.test(`what ${rule} says is not guessed, since servers ask it only when a host asks`, () => {
    const asked = overview({ unasked: [rule as GroupAccount["unasked"][number]] });
    const { verdict, unknown } = explain(asked, WORKERS, facts());
    equal(verdict, "unknown");
    equal(unknown.length, 1);
    match(unknown[0]!, tells);
    const isSkippable = rule !== "drain";
    equal(explain(asked, WORKERS, facts({ skips: "health, x" })).verdict, isSkippable ? "granted" : "unknown");
    const blocks = [{ kind: "fleet_unhealthy", rule, sentence: "x" }];
    const refused = explain(overview({ unasked: asked.groups[0]!.unasked, blocks }), WORKERS, facts());
    deepEqual([refused.verdict, refused.unknown.length], ["refused", isSkippable ? 0 : 1]);
  });
}

Deno.test("what one of several replicas asks only at a request is unknown", () => {
  const answers = [[], ["drain" as const]].map((unasked, at) => ({
    replica: `r${at}`,
    account: account([group({ unasked })]),
  }));
  equal(explain(mergeAnswers(answers)!, WORKERS, facts()).verdict, "unknown");
});

Deno.test("a fresh read says whether a client holds, and the account says more of the same hold", () => {
  const seen = holder({ ...client(ID), node: undefined, stage: "rebooting" });
  const held = { ...client(ID), since: seen.since, stage: "unknown" as const, isStuck: false };
  const whole = explain(overview({ holders: [seen] }), WORKERS, facts({ held }));
  deepEqual([whole.verdict, whole.holder!.stage, whole.command], ["holds", "rebooting", undefined]);
  const later = explain(overview({ holders: [seen] }), WORKERS, facts({ held: { ...held, since: before(1) } }));
  deepEqual([later.verdict, later.holder!.stage], ["holds", "unknown"]);
  equal(explain(overview({ holders: [seen] }), WORKERS, facts()).verdict, "granted");
});

for (
  const [name, held, verdict, unknown] of [
    [ID, holder({ ...client(ID) }), "holds", undefined],
    [ID.toUpperCase(), holder({ ...client(ID) }), "holds", undefined],
    ["aaaabbbb…", holder({ ...client(ID), node: undefined }), "holds", undefined],
    ["aaaabb", holder({ ...client(ID), node: undefined }), "holds", undefined],
    ["node-b", holder({ ...client(ID), node: "node-b" }), "holds", undefined],
    ["backup-job", holder({ ...client("backup-job"), node: undefined }), "holds", undefined],
    // Another client's id begins as the shown part, and its hash is another one.
    [OTHER_ID, holder({ ...client(ID), node: undefined }), "granted", undefined],
    ["node-c", holder({ ...client(ID), node: "node-b" }), "granted", undefined],
    // It may be a start of the id that is longer than the account shows.
    ["backup-jo", holder({ ...client("backup-job"), node: undefined }), "unknown", /backu… may be the start of its id/],
  ] as const
) {
  Deno.test(`by an account alone, ${name} beside the hold of ${held.node ?? held.id} is ${verdict}`, () => {
    const answer = explain(overview({ holders: [held], slots: 2 }, NO_DRAINS), WORKERS, onlyServer(name));
    equal(answer.verdict, verdict);
    if (unknown === undefined) deepEqual(answer.unknown, []);
    else match(answer.unknown.join(), unknown);
    ok(!answer.client.includes(ID));
  });
}

Deno.test("a start that fits several holders names none of them", () => {
  const holders = [ID, OTHER_ID].map((id) => holder({ ...client(id), node: undefined }));
  const answer = explain(overview({ holders, slots: 3 }, NO_DRAINS), WORKERS, onlyServer("aaaabbbb"));
  equal(answer.verdict, "unknown");
  match(answer.unknown.join(), /which client is meant: 2 holders/);
});

Deno.test("the last refusal is that of the very client", () => {
  const refused = { at: before(1), since: before(9), kind: "paused", sentence: "x" };
  const waiting = [{ ...client(OTHER_ID), ...refused }, { ...client(ID), ...refused, kind: "deferred" }];
  equal(explain(overview({ waiting }), WORKERS, facts()).lastRefusal!.kind, "deferred");
});

Deno.test("without the cluster, holds of the node are unknown, unless the servers drain none", () => {
  const { verdict, unknown } = explain(overview({}), WORKERS, onlyServer(ID));
  equal(verdict, "unknown");
  match(unknown.join(), /whether its node is on hold.*kubectl describe node/);
  equal(explain(overview({}, NO_DRAINS), WORKERS, onlyServer(ID)).verdict, "granted");
});

const ON_HOLD = { kind: "node_on_hold", rule: "hold", sentence: "held" };
const DEFERRED = { kind: "deferred", rule: "deferred", sentence: "later" };

for (
  const [skips, kinds] of [
    [undefined, ["node_on_hold", "deferred"]],
    ["hold", ["deferred"]],
    ["deferred", ["node_on_hold"]],
    ["x, hold ,deferred", []],
    ["all", []],
    ["", ["node_on_hold", "deferred"]],
  ] as const
) {
  Deno.test(`a node with skip=${skips} is refused for ${kinds.join(" and ") || "nothing"}`, () => {
    const answer = explain(overview({}), WORKERS, facts({ reasons: [ON_HOLD, DEFERRED], skips }));
    deepEqual(answer.reasons.map(({ kind }) => kind), kinds);
    equal(answer.verdict, kinds.length === 0 ? "granted" : "refused");
  });
}

Deno.test("what stands on a node has no effect where the servers drain none, and that is said", () => {
  const ambiguous = { kind: "node_ambiguous", sentence: "two" };
  const some = facts({ reasons: [ON_HOLD, ambiguous], skips: "all" });
  const { verdict, notes } = explain(overview({}, NO_DRAINS), WORKERS, some);
  equal(verdict, "granted");
  match(notes.join("\n"), /internal\/hold of node "node-b" has no effect.*-drain=false.*\n.*internal\/skip/);
  const paused = [{ kind: "paused", rule: "paused", sentence: "p" }];
  const refused = explain(overview({ blocks: paused }, NO_DRAINS), WORKERS, some);
  deepEqual([refused.verdict, refused.reasons.length], ["refused", 1]);
  // One replica that drains is enough for a hold to count.
  const drains = [account([group()], NO_DRAINS), account([group()])].map((one, at) => ({
    replica: `r${at}`,
    account: one,
  }));
  equal(explain(mergeAnswers(drains)!, WORKERS, facts({ reasons: [ON_HOLD] })).verdict, "refused");
});

Deno.test("where no server tells whether it drains, a hold counts, and the doubt is named", () => {
  const { slots: _, blocks: __, unasked: ___, ...stored } = group();
  const fromStore = { at: before(0), source: "s", unknown: [], groups: [stored] };
  const { verdict, unknown } = explain(fromStore, WORKERS, facts({ reasons: [ON_HOLD] }));
  equal(verdict, "refused");
  match(unknown.join(), /whether the servers obey holds of nodes/);
});

Deno.test("no skip is advised where it would have no effect", () => {
  const blocks = [{ kind: "outside_window", rule: "allow", sentence: "w" }];
  match(explain(overview({ blocks }), WORKERS, facts()).command!.command, /skip=allow/);
  equal(explain(overview({ blocks }, NO_DRAINS), WORKERS, facts()).command, undefined);
});

Deno.test("a skip is advised for all rules that speak, beside those that it has, and not where a slot is what lacks", () => {
  const allow = { kind: "outside_window", rule: "allow", sentence: "w" };
  const health = ["health.notReady", "health.prometheus"].map((rule) => ({
    kind: "fleet_unhealthy",
    rule,
    sentence: "h",
  }));
  const freeze = { kind: "frozen", rule: "freeze", sentence: "f" };
  const advice = (blocks: GroupAccount["blocks"], skips?: string) =>
    explain(overview({ blocks }), WORKERS, facts({ skips })).command?.command;
  equal(advice([allow, ...health]), "kubectl annotate node node-b fleetlock.internal/skip=allow,health");
  equal(
    advice([allow, freeze], " freeze ,"),
    "kubectl annotate node node-b --overwrite fleetlock.internal/skip=freeze,allow",
  );
  equal(advice([{ kind: "lock_held", sentence: "held" }, allow]), undefined);
});

Deno.test("rules that count nodes leave out the client's own, so what they say to others is not sure to concern it", () => {
  for (const rule of ["unavailable", "health.notReady"]) {
    const blocks = [{ kind: "fleet_unhealthy", rule, sentence: "node-b is not ready" }];
    equal(explain(overview({ blocks }), WORKERS, facts()).verdict, "refused");
    const { verdict, reasons, unknown } = explain(overview({ blocks }), WORKERS, facts({ isUnavailable: true }));
    deepEqual([verdict, reasons], ["unknown", []]);
    match(unknown.join(), new RegExp(`whether the rule ${rule} is against it.* node-b is not ready`));
    const paused = { kind: "paused", rule: "paused", sentence: "p" };
    const both = explain(overview({ blocks: [...blocks, paused] }), WORKERS, facts({ isUnavailable: true }));
    deepEqual([both.verdict, both.reasons], ["refused", [paused]]);
  }
});

for (
  const [kinds, command] of [
    [["paused", "deferred"], "fleetlock resume workers"],
    [["node_on_hold", "paused"], "fleetlock unhold node-b"],
    [["node_ambiguous", "node_on_hold"], "kubectl get nodes"],
    [["deferred"], "fleetlock undefer workers node-b"],
    [["outside_window"], "kubectl annotate node node-b fleetlock.internal/skip=allow"],
    [["lock_held"], undefined],
  ] as const
) {
  Deno.test(`the one command against ${kinds.join(" and ")} is ${command ?? "to wait"}`, () => {
    const blocks = kinds.map((kind) => ({ kind, sentence: kind, ...(kind === "outside_window" && { rule: "allow" }) }));
    const answer = explain(overview({ blocks }), WORKERS, facts());
    equal(answer.verdict, "refused");
    equal(answer.command?.command, command);
  });
}

Deno.test("where a holder that is stuck is in the way, the command is about that one", () => {
  const stuck = holder({ stage: "node-gone", isStuck: true });
  const blocks = [{ kind: "lock_held", sentence: "held" }];
  equal(
    explain(overview({ holders: [stuck], blocks }), WORKERS, facts()).command!.command,
    "fleetlock release workers node-a",
  );
});

Deno.test("the next time is the latest end of all reasons, and unknown where one has none", () => {
  const blocks = [
    { kind: "outside_window", sentence: "x", until: before(-60) },
    { kind: "settling", sentence: "y", until: before(-5) },
  ];
  equal(explain(overview({ blocks }), WORKERS, facts()).next, before(-60));
  equal(
    explain(overview({ blocks: [...blocks, { kind: "lock_held", sentence: "z" }] }), WORKERS, facts()).next,
    undefined,
  );
});

Deno.test("a rule that the node may skip is no reason", () => {
  const blocks = [{ kind: "fleet_unhealthy", rule: "health.notReady", sentence: "x" }];
  equal(explain(overview({ blocks }), WORKERS, facts({ skips: "health" })).verdict, "granted");
  equal(explain(overview({ blocks }), WORKERS, facts({ skips: "heal" })).verdict, "refused");
});

Deno.test("a skip that names what is not a rule is told, with the names that there are", () => {
  const notes = (skips: string, whole = {}) => explain(overview({}, whole), WORKERS, facts({ skips })).notes;
  deepEqual(notes("all, health,health.notReady,"), []);
  match(
    notes("alow,freeze").join(),
    /of node "node-b" names "alow", which is not a rule and has no effect: .* all, .*health/,
  );
  match(notes("a,b,c,d,e,f,g").join(), /"a", "b", "c", "d", "e" and 2 more, which are not rules/);
  equal(notes("alow", NO_DRAINS).some((note) => note.includes("alow")), false, "no server reads it");
});

Deno.test("from the store alone, a grant is not promised, and holders are named", () => {
  const { slots: _, blocks: __, unasked: ___, ...stored } = group({ holders: [holder()] });
  const answer = explain({ at: before(0), source: "s", unknown: [], groups: [stored] }, WORKERS, facts());
  equal(answer.verdict, "unknown");
  match(answer.unknown.join(), /whether a slot is free: node-a holds one/);
});

Deno.test("a rule that lets grants go on although its monitor cannot be asked is a note, once for all replicas", () => {
  const passedOver = [{ rule: "health.prometheus", reason: "it cannot be reached" }];
  const one = account([group({ passedOver })]);
  const merged = mergeAnswers([{ replica: "a", account: one }, { replica: "b", account: { ...one, replica: "b" } }])!;
  const { verdict, notes } = explain(merged, WORKERS, facts());
  equal(verdict, "granted");
  deepEqual(notes, [
    "the rule health.prometheus lets grants go on (onError: allow): its monitor could not be asked last: it cannot be reached",
  ]);
});

Deno.test("what only a server was asked about names the way to see the nodes", () => {
  match(
    explain(overview({}), WORKERS, onlyServer("node-b")).unknown.join(),
    /with a kubeconfig instead of --server tells/,
  );
});
