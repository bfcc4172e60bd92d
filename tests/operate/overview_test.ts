/** The accounts of several replicas as one: the freshest fact wins, and nothing is guessed. @module */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { isStuck, mergeAnswers } from "../../src/operate/overview.ts";
import { parseAccount } from "../../src/operate/accounts.ts";
import { account, before, client, group, holder } from "../support/accounts.ts";

Deno.test("no answer with an account is no overview", () => {
  equal(mergeAnswers([]), undefined);
  equal(mergeAnswers([{ replica: "a", problem: "it did not answer in time" }]), undefined);
});

Deno.test("the freshest replica says who holds; one that is out of step does not, however late its clock is", () => {
  const stale = account([group({ holders: [holder()] })], { at: before(-5), isInStep: false });
  const fresh = account([group()], { replica: "b" });
  const merged = mergeAnswers([{ replica: "a", account: stale }, { replica: "b", account: fresh }])!;
  deepEqual(merged.groups[0]!.holders, []);
  equal(merged.at, before(0));
});

Deno.test("of a hold, the replica that runs the drain names the pods, and the earliest sight of the stage counts", () => {
  const pods = [{ pod: "default/web-0", reason: "its budget allows no disruption now" }];
  const runs = holder({ stage: "blocked", stageSince: before(12), isStuck: true, pods });
  const sees = holder({ stage: "draining", stageSince: before(34), lastPoll: before(2) });
  const other = holder({ stage: "blocked", stageSince: before(20), lastPoll: before(7) });
  const answers = [sees, runs, other].map((one, at) => ({
    replica: `r${at}`,
    account: account([group({ holders: [one] })], { at: before(at) }),
  }));
  const [merged] = mergeAnswers(answers)!.groups[0]!.holders;
  deepEqual(merged, holder({ stage: "blocked", stageSince: before(20), isStuck: true, pods, lastPoll: before(2) }));
});

Deno.test("of the replicas that will free a hold, the one that does so first counts", () => {
  const answers = [before(-30), before(-10), undefined].map((at, index) => ({
    replica: `r${index}`,
    account: account([
      group({ holders: [holder({ stage: "node-gone", ...(at !== undefined && { release: { at } }) })] }),
    ], { at: before(index) }),
  }));
  const [merged] = mergeAnswers(answers)!.groups[0]!.holders;
  deepEqual(merged!.release, { at: before(-10) });
});

Deno.test("a stage that one replica knows wins over unknown", () => {
  const answers = [holder({ stage: "unknown" }), holder({ stage: "rebooting", isStuck: true })].map((one, at) => ({
    replica: `r${at}`,
    account: account([group({ holders: [one] })], { at: before(at) }),
  }));
  const merged = mergeAnswers(answers)!;
  equal(merged.groups[0]!.holders[0]!.stage, "rebooting");
  ok(isStuck(merged));
});

Deno.test("a group that the store does not know is shown where any replica has refused a client of it", () => {
  const waiting = [{ ...client("a".repeat(32)), at: before(1), since: before(9), kind: "frozen", sentence: "frozen" }];
  const asked = group({ name: "asked", transitions: 0, waiting });
  const named = group({ name: "named", transitions: 0 });
  const deleted = group({ name: "deleted", waiting });
  const merged = mergeAnswers([
    { replica: "a", account: account([group()]) },
    { replica: "b", account: account([asked, deleted, named], { at: before(1) }) },
  ])!;
  deepEqual(merged.groups.map(({ name, waiting }) => [name, waiting?.length]), [["asked", 1], ["workers", 0]]);
});

Deno.test("a client that was refused by two replicas waits once, since the first, with the last reason", () => {
  const refused = (at: number, since: number, kind: string) => ({
    ...client("a".repeat(32)),
    at: before(at),
    since: before(since),
    kind,
    sentence: kind,
  });
  const answers = [[refused(9, 30, "lock_held")], [refused(2, 5, "paused")]].map((waiting, at) => ({
    replica: `r${at}`,
    account: account([group({ waiting })]),
  }));
  deepEqual(mergeAnswers(answers)!.groups[0]!.waiting, [refused(2, 30, "paused")]);
  // It got its slot from the replica that asked last.
  const granted = account([group({ holders: [holder({ ...client("a".repeat(32)), since: before(1) })] })]);
  deepEqual(mergeAnswers([...answers, { replica: "x", account: granted }].toReversed())!.groups[0]!.waiting, []);
});

Deno.test("clients and holds whose ids begin alike stay apart", () => {
  const [one, other] = ["aaaaaaaa1", "aaaaaaaa2"].map((start) => client(start.padEnd(32, "0")));
  const refused = { at: before(2), since: before(9), kind: "lock_held", sentence: "x" };
  const holders = [holder({ ...one, stage: "unknown" }), holder({ ...other, stage: "rebooting" })];
  const answers = [one!, other!].map((shown, at) => ({
    replica: `r${at}`,
    account: account([group({ holders, waiting: [{ ...shown, ...refused }] })]),
  }));
  const merged = mergeAnswers(answers)!.groups[0]!;
  deepEqual(merged.waiting!.map(({ hash }) => hash).toSorted(), [one!.hash, other!.hash].toSorted());
  deepEqual(merged.holders.map(({ stage }) => stage), ["unknown", "rebooting"]);
});

Deno.test("one turn that several replicas saw is listed once, with the earliest end", () => {
  const turn = { ...client("a".repeat(32)), granted: before(50), released: before(40) };
  const answers = [
    { replica: "a", account: account([group({ turns: [{ ...turn, released: before(39) }] })]) },
    {
      replica: "b",
      account: account([group({ turns: [turn, { ...turn, granted: before(90), released: before(80) }] })]),
    },
  ];
  deepEqual(mergeAnswers(answers)!.groups[0]!.turns!.map(({ released }) => released), [before(40), before(80)]);
});

Deno.test("what is not known is said: silent replicas, different files, and a file that is not in force", () => {
  const answers = [
    { replica: "a", account: account([], { config: { hash: "1", error: "line 3" } }) },
    { replica: "b", account: account([], { config: { hash: "2" }, replica: "b" }) },
    { replica: "c", problem: "it did not answer in time" },
  ];
  const { unknown, source } = mergeAnswers(answers)!;
  match(
    unknown.join("\n"),
    /c did not tell .* in time\n.*newest configuration: line 3\n.*different configuration files/,
  );
  equal(source, "2 of 3 replicas (fleetlock 1.2.3)");
});

for (
  const [text, problem] of [
    ["<html>", /not the state of a fleetlock server/],
    ["null", /not the state/],
    ['{"version": 7}', /version 7.*reads 1/],
    ['{"version": 1}', /not whole/],
    [JSON.stringify(account([{ ...group(), holders: [{}] as never }])), /not whole/],
    [JSON.stringify(account([{ ...group(), blocks: [{ kind: "x" }] as never }])), /not whole/],
    ...[
      { holders: [{ ...holder(), pods: "x" }] },
      { holders: [{ ...holder(), since: "yesterday" }] },
      { holders: [{ ...holder(), isStuck: "no" }] },
      { holders: [{ ...holder(), hash: undefined }] },
      { deferred: [{ ...client("x"), node: "n", until: before(1) }] },
      { waiting: [{ ...client("x"), since: before(1), kind: "k", sentence: "s" }] },
      { waitingMore: "5" },
      { turns: [client("x")] },
      { pause: { until: "later" } },
      { unasked: [5] },
      { nextOpening: 5 },
    ].map((more) => [JSON.stringify(account([{ ...group(), ...more } as never])), /not whole/] as const),
    [JSON.stringify(account([], { config: { hash: "x", error: 5 as never } })), /not whole/],
  ] as const
) {
  Deno.test(`an answer such as ${text.length > 300 ? text.slice(220, 300) : text.slice(0, 40)} is not shown as an account`, () => {
    const answer = parseAccount(text);
    equal(answer.account, undefined);
    match(answer.problem!, problem);
  });
}

Deno.test("text of a server cannot steer a terminal, and is bounded", () => {
  const hostile = `\x1b[2J\u202e\n${"x".repeat(5_000)}`;
  const { account: read } = parseAccount(JSON.stringify(account([group({ name: hostile })])));
  equal(read!.groups[0]!.name, `\ufffd[2J\ufffd; ${"x".repeat(1_993)}…`);
});

Deno.test("an account survives the way through JSON", () => {
  const whole = account([group({ holders: [holder()] })]);
  deepEqual(parseAccount(JSON.stringify(whole)), { account: whole });
});
