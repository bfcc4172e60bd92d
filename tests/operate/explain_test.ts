/** Would a client be granted a slot now: the reasons, the next time, and the command that changes it. @module */

import { deepEqual, equal, match } from "node:assert/strict";
import { explain } from "../../src/operate/explain.ts";
import { findNamed } from "../../src/operate/clients.ts";
import { mergeAnswers } from "../../src/operate/overview.ts";
import { parseGroup } from "../../src/lock/identity.ts";
import type { GroupAccount } from "../../src/status/account.ts";
import { account, before, group, holder } from "../support/accounts.ts";

const WORKERS = parseGroup("workers")!;
const ID = "aaaabbbbccccddddeeeeffff00001111";

function overview(more: Partial<GroupAccount>) {
  return mergeAnswers([{ replica: "a", account: account([group(more)]) }])!;
}

function facts(more = {}) {
  return { client: { name: "node-b", node: "node-b", ids: [ID] }, reasons: [], unknown: [], ...more };
}

Deno.test("nothing speaks against a grant", () => {
  const { verdict, reasons, next, command } = explain(overview({}), WORKERS, facts());
  deepEqual({ verdict, reasons, next, command }, {
    verdict: "granted",
    reasons: [],
    next: undefined,
    command: undefined,
  });
});

Deno.test("a group that nobody has used yet would be granted", () => {
  equal(explain(overview({}), parseGroup("new")!, facts()).verdict, "granted");
});

Deno.test("a client that holds is found by its node or by the start of its id", () => {
  for (const held of [holder({ node: "node-b" }), holder({ id: "aaaabbbb…", node: undefined })]) {
    const answer = explain(overview({ holders: [held] }), WORKERS, facts());
    equal(answer.verdict, "holds");
    equal(answer.command, undefined);
  }
  equal(explain(overview({ holders: [holder({ id: "aaaaXXXX…" })] }), WORKERS, facts()).verdict, "granted");
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

Deno.test("from the store alone, a grant is not promised, and holders are named", () => {
  const { slots: _, blocks: __, ...stored } = group({ holders: [holder()] });
  const answer = explain({ at: before(0), source: "s", unknown: [], groups: [stored] }, WORKERS, facts());
  equal(answer.verdict, "unknown");
  match(answer.unknown.join(), /node-a holds a slot: whether another one is free/);
});

Deno.test("a name is a node, an id in any form, or the start of one id", () => {
  const all = [{ id: ID, node: "node-a" }, { id: "aaaa1111", node: { name: "node-b" } }, { id: "aa" }];
  const find = (name: string) => {
    const found = findNamed(all, name);
    return found.kind === "one" ? all.indexOf(found.value) : found.kind;
  };
  const uuid = "AAAABBBB-CCCC-DDDD-EEEE-FFFF00001111";
  deepEqual(["node-b", ID, uuid, "aaaab", "aaaa", "aa", "aaa", "zzzz"].map(find), [
    1,
    0,
    0,
    0,
    "several",
    2,
    "none",
    "none",
  ]);
});
