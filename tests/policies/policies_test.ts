import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { PolicyQuestion } from "../../src/lock/policy.ts";
import { FREE, type GroupState } from "../../src/lock/semaphore.ts";
import { DEFAULT_GROUP, type GroupOptions, NO_POLICIES, type PolicyOptions } from "../../src/policies/options.ts";
import { type FactsSource, type MonitorFailures, Policies } from "../../src/policies/policies.ts";
import { describeNodes } from "../../src/policies/nodes.ts";
import type { HealthFacts } from "../../src/policies/snapshot.ts";
import { groupNodes, heldBy, HOST, node, NOT_ASKED, NOW, options, type TestNode, WORKERS } from "./support.ts";

/** Facts that a test sets, and what was asked of them. */
class ScriptedFacts implements FactsSource {
  time = NOW;
  isFresh = true;
  all: TestNode[] = [];
  health: HealthFacts = NOT_ASKED;
  asked: HealthFacts = NOT_ASKED;
  failures: MonitorFailures = {};
  readonly calls: string[] = [];

  now() {
    return this.time;
  }
  isTimeFresh() {
    return this.isFresh;
  }
  hearTime() {
    this.calls.push("hearTime");
    this.isFresh = true;
    return Promise.resolve();
  }
  nodes() {
    return { kind: "known" as const, value: groupNodes(this.all) };
  }
  asking() {
    return { kind: "known" as const, value: this.all.filter(({ isAsking }) => isAsking) };
  }
  monitorFailures() {
    return this.failures;
  }
  knownHealth(_options: GroupOptions, question: PolicyQuestion) {
    equal(question.id, HOST);
    return this.health;
  }
  askHealth(_options: GroupOptions, question: PolicyQuestion) {
    equal(question.id, HOST);
    this.calls.push("askHealth");
    return Promise.resolve(this.asked);
  }
}

function policies(facts: FactsSource, workers: Partial<GroupOptions>, more: Partial<PolicyOptions> = {}): Policies {
  const current = { ...NO_POLICIES, groups: new Map([["workers", options(workers)]]), ...more };
  return new Policies({ current: () => current, facts, drainTimeoutMs: 900_000 });
}

const question = (state: GroupState = FREE): PolicyQuestion => ({ group: WORKERS, id: HOST, state });
const sick = options({ health: { blockingPods: "app=job" } });
const blocking: HealthFacts = { ...NOT_ASKED, blockingPods: { kind: "known", value: ["default/job"] } };

Deno.test("without a file, every group has one slot and nothing speaks against a grant", async () => {
  const all = new Policies({ current: () => NO_POLICIES, facts: new ScriptedFacts(), drainTimeoutMs: 900_000 });
  equal(all.slotsOf(WORKERS), 1);
  deepEqual(await all.judge(question()), { slots: 1, reasons: [], ignored: [] });
  equal(all.nextOpening(WORKERS), undefined);
});

Deno.test("a look goes by what is known and asks nothing; a judgement asks", async () => {
  const facts = new ScriptedFacts();
  facts.asked = blocking;
  const all = policies(facts, sick);
  deepEqual(all.peek(question()).reasons, []);
  deepEqual(facts.calls, []);
  deepEqual((await all.judge(question())).reasons.map(({ rule }) => rule), ["health.blockingPods"]);
  deepEqual(facts.calls, ["askHealth"]);
  facts.health = blocking;
  deepEqual(all.peek(question()).reasons.map(({ rule }) => rule), ["health.blockingPods"]);
});

Deno.test("a judgement hears the time first where a window needs it and it was not heard lately", async () => {
  const facts = new ScriptedFacts();
  const always = [{ days: [], at: { hour: 0, minute: 0 }, forMs: 48 * 3_600_000, cutoffMs: 0 }];
  for (
    const [allow, isFresh, calls] of [[always, false, ["hearTime", "askHealth"]], [always, true, ["askHealth"]], [
      [],
      false,
      ["askHealth"],
    ]] as const
  ) {
    facts.isFresh = isFresh;
    facts.calls.length = 0;
    deepEqual((await policies(facts, { allow }).judge(question())).reasons, []);
    deepEqual(facts.calls, calls);
  }
  facts.isFresh = false;
  const deaf = policies(facts, { allow: always });
  // A look that refused here would keep every request from the judgement that hears the time.
  deepEqual(deaf.peek(question()).reasons, []);
  facts.hearTime = () => Promise.resolve();
  deepEqual((await deaf.judge(question())).reasons.map(({ kind }) => kind), ["policy_undecided"]);
});

Deno.test("a group that the file does not name has the defaults, or none", () => {
  const facts = new ScriptedFacts();
  const defaults = options({ slots: { kind: "number", value: 3 } });
  const open = policies(facts, {}, { groups: new Map(), defaults });
  equal(open.slotsOf(WORKERS), 3);
  equal(open.peek(question()).slots, 3);
  const shut = policies(facts, {}, { groups: new Map(), defaults, allowUnknownGroups: false });
  deepEqual(shut.peek(question()).reasons.map(({ kind }) => kind), ["unknown_group"]);
});

Deno.test("a share of the nodes is rounded down and is one slot at least", () => {
  const facts = new ScriptedFacts();
  const all = policies(facts, { slots: { kind: "percent", value: 10 } });
  for (const [count, slots] of [[0, 1], [9, 1], [19, 1], [20, 2], [39, 3], [1289, 128], [1290, 128]] as const) {
    facts.all = Array.from({ length: count }, (_, index) => node(`n${index}`));
    facts.all.push(node("of-another-group", { isInGroup: false }));
    equal(all.slotsOf(WORKERS), slots);
    equal(all.peek(question()).slots, slots);
  }
});

Deno.test("unavailable nodes take slots, down to none", () => {
  const facts = new ScriptedFacts();
  facts.all = [node("a", { isReady: false }), node("b", { isCordoned: true }), node("h", { isReady: false })];
  const all = policies(facts, { slots: { kind: "number", value: 4 }, unavailable: "count" });
  equal(all.peek(question(heldBy("h"))).slots, 2);
  equal(policies(facts, { unavailable: "count" }).peek(question()).slots, 0);
  // What a holder may go on with is not changed by what befalls other nodes.
  equal(all.slotsOf(WORKERS), 4);
});

Deno.test("polls look at the nodes once for each state of a group, however many clients ask", () => {
  let visits = 0;
  const visited = (name: string, isReady: boolean) => {
    const found = node(name);
    return Object.defineProperty(found, "isReady", { get: () => (visits++, isReady) });
  };
  const group = groupNodes(Array.from({ length: 1_000 }, (_, n) => visited(`n${n}`, n >= 100)));
  const facts = new ScriptedFacts();
  facts.nodes = () => ({ kind: "known", value: group });
  const all = policies(facts, {
    slots: { kind: "percent", value: 5 },
    unavailable: "count",
    health: { notReady: { kind: "percent", value: 1 } },
  });
  const [one, other] = [heldBy("n0"), heldBy("n1")];
  const poll = (state: GroupState, asking: string) => {
    facts.all = [node(asking, { isAsking: true })];
    visits = 0;
    const [reason] = all.peek(question(state)).reasons;
    match(reason!.sentence, asking === "n2" ? /\b98 / : /\b99 /);
    return visits;
  };
  // Each of the 100 sick nodes once, and those that the sentences name.
  const named = 2 * 5;
  ok(poll(one, "n999") >= 99);
  for (const asking of ["n999", "n998", "n2"]) equal(poll(one, asking), named, asking);
  ok(poll(other, "n999") >= 99);
  for (const state of [one, other]) equal(poll(state, "n999"), named);
});

Deno.test("a sentence names the first of the nodes that count, and says how many more there are", () => {
  const sick = ["a", "b", "c", "d", "e", "f", "g"].map((name) => node(name, { isReady: false }));
  const group = groupNodes([
    ...sick,
    node("z", { isCordoned: true, cordonedFor: [{ group: WORKERS, id: HOST, since: 1 }] }),
  ]);
  const named = (state: GroupState, ...asking: string[]) =>
    describeNodes(group.unavailable(question(state), asking.map((name) => node(name)))).replaceAll(" (not ready)", "");
  equal(named(FREE), "a, b, c, d, e, 2 more");
  equal(named(FREE, "b", "z"), "a, c, d, e, f, 1 more");
  equal(named(FREE, "g"), "a, b, c, d, e, 1 more");
  equal(named(heldBy("a", "g"), "b"), "c, d, e, f");
  equal(named(heldBy("a", "b", "c", "d", "e", "f"), "g"), "");
});

Deno.test("a group in warn mode grants, and tells what its rules would have refused; orders count in any mode", () => {
  const facts = new ScriptedFacts();
  facts.health = blocking;
  facts.all = [node("a", { isReady: false }), node("mine", { isAsking: true, hold: "debugging" })];
  const all = policies(facts, { ...sick, mode: "warn", unavailable: "count" });
  const answer = all.peek(question({ ...FREE, notes: { pause: { reason: "x" } } }));
  equal(answer.slots, 1);
  deepEqual(answer.reasons.map(({ rule }) => rule), ["paused", "hold"]);
  deepEqual(answer.ignored.map(({ rule, because }) => [rule, because]), [
    ["unavailable", "warn"],
    ["health.blockingPods", "warn"],
  ]);
});

Deno.test("the same reasons again are the same list, so that the reply need not be made again", () => {
  const facts = new ScriptedFacts();
  const all = policies(facts, { settleMs: 60_000 });
  const state = (returned: number) => ({ ...FREE, notes: { returned } });
  const first = all.peek(question(state(NOW - 1))).reasons;
  equal(all.peek(question(state(NOW - 1))).reasons, first);
  const later = all.peek(question(state(NOW))).reasons;
  equal(later === first, false);
  equal(later[0]!.until, NOW + 60_000);
});

Deno.test("a group's own drain time and what to do at its end are told, and nothing where it has none", () => {
  const drain = { timeoutMs: 60_000, onTimeout: "yield" as const };
  deepEqual(policies(new ScriptedFacts(), { drain }).drainOf(WORKERS), drain);
  deepEqual(policies(new ScriptedFacts(), {}).drainOf(WORKERS), {});
});

Deno.test("the skip annotation of the asking node lets it pass all rules, one, or those of one section", () => {
  const facts = new ScriptedFacts();
  facts.health = blocking;
  const state = { ...FREE, notes: { pause: { reason: "x" } } };
  const all = policies(facts, sick);
  const cases: [string, string[]][] = [
    ["all", []],
    ["paused", ["health.blockingPods"]],
    ["health", ["paused"]],
    ["health.blockingPods, paused", []],
    ["heal", ["paused", "health.blockingPods"]],
    ["", ["paused", "health.blockingPods"]],
  ];
  for (const [skip, left] of cases) {
    facts.all = [node("mine", { isAsking: true, skip })];
    const { reasons, ignored } = all.peek(question(state));
    deepEqual(reasons.map(({ rule }) => rule), left, skip);
    deepEqual(ignored.map(({ because }) => because), ignored.map(() => "skip"));
    equal(reasons.length + ignored.length, 2);
  }
  facts.all = [node("mine", { isAsking: true }), node("other", { skip: "all" })];
  equal(all.peek(question(state)).reasons.length, 2);
  // Of two nodes with the client's id, nobody knows which one asks.
  facts.all = [node("mine", { isAsking: true, skip: "all" }), node("twin", { isAsking: true })];
  equal(all.peek(question(state)).reasons.length, 2);
});

Deno.test("a node that skips the count of unavailable nodes has all slots, and they rest on the skip", () => {
  const facts = new ScriptedFacts();
  facts.all = [node("a", { isReady: false }), node("mine", { isAsking: true, skip: "unavailable" })];
  const { slots, skip } = policies(facts, { unavailable: "count" }).peek(question());
  deepEqual([slots, skip], [1, "unavailable"]);
  // Here no reason is passed over, and the slots are more all the same.
  const wide = policies(facts, { unavailable: "count", slots: { kind: "number", value: 2 } }).peek(question());
  deepEqual([wide.slots, wide.reasons, wide.ignored, wide.skip], [2, [], [], "unavailable"]);
});

Deno.test("an answer says that it rests on a skip only where it does", async () => {
  const facts = new ScriptedFacts();
  const paused = question({ ...FREE, notes: { pause: {} } });
  const skipOf = (workers: Partial<GroupOptions>, asked = question()) => policies(facts, workers).peek(asked).skip;
  facts.all = [node("mine", { isAsking: true, skip: "paused, health" })];
  equal(skipOf({}), undefined, "nothing speaks against a grant");
  equal(skipOf({}, paused), "paused, health");
  facts.health = blocking;
  equal(skipOf(sick), "paused, health");
  equal(skipOf({ ...sick, mode: "warn" }), undefined, "warn mode passes the rule without it");
  equal(skipOf({ ...sick, mode: "warn" }, paused), "paused, health");
  equal((await policies(facts, sick).judge(paused)).skip, "paused, health");
});

Deno.test("a question that names a skip goes by that one, and not by the node", () => {
  const facts = new ScriptedFacts();
  const all = policies(facts, {});
  const paused = question({ ...FREE, notes: { pause: {} } });
  facts.all = [node("mine", { isAsking: true, skip: "all" })];
  deepEqual(all.peek({ ...paused, skip: "" }).reasons.map(({ rule }) => rule), ["paused"]);
  facts.all = [node("mine", { isAsking: true })];
  const taken = all.peek({ ...paused, skip: "all" });
  deepEqual([taken.reasons, taken.ignored.map(({ because }) => because), taken.skip], [[], ["skip"], undefined]);
});

Deno.test("the group's own drain time is the cutoff of its windows, and the server's where it has none", () => {
  const facts = new ScriptedFacts();
  facts.time = Date.parse("2026-11-26T00:00:00Z");
  const allow = [{ days: [], at: { hour: 0, minute: 0 }, forMs: 3_600_000 }];
  const open = (more: Partial<GroupOptions>) =>
    policies(facts, { allow, ...more }).peek(question()).reasons.length === 0;
  for (
    const [minutes, own, expected] of [[44, undefined, true], [45, undefined, false], [29, 30, true], [30, 30, false]]
  ) {
    facts.time = Date.parse("2026-11-26T00:00:00Z") + (minutes as number) * 60_000;
    equal(
      open({ drain: own === undefined ? {} : { timeoutMs: (own as number) * 60_000 } }),
      expected,
      `${minutes} ${own}`,
    );
  }
});

Deno.test("policies that come into force apply at once", () => {
  const facts = new ScriptedFacts();
  let current: PolicyOptions = NO_POLICIES;
  const all = new Policies({ current: () => current, facts, drainTimeoutMs: 900_000 });
  equal(all.slotsOf(WORKERS), 1);
  current = { ...NO_POLICIES, defaults: { ...DEFAULT_GROUP, slots: { kind: "number", value: 5 } } };
  equal(all.slotsOf(WORKERS), 5);
});

Deno.test("a judgement of rules that came into force meanwhile rests on facts that were asked for them", async () => {
  const facts = new ScriptedFacts();
  let current: PolicyOptions = { ...NO_POLICIES, groups: new Map([["workers", options()]]) };
  const all = new Policies({ current: () => current, facts, drainTimeoutMs: 900_000 });
  const ask = facts.askHealth.bind(facts);
  facts.askHealth = async (of, asked) => {
    const health = await ask(of, asked);
    if (facts.calls.length === 1) current = { ...NO_POLICIES, groups: new Map([["workers", sick]]) };
    return of.health.blockingPods === undefined ? NOT_ASKED : (equal(of, sick), { ...health, ...blocking });
  };
  deepEqual((await all.judge(question())).reasons.map(({ rule }) => rule), ["health.blockingPods"]);
  equal(facts.calls.length, 2);
});

Deno.test("rules that change during each judgement refuse", async () => {
  const facts = new ScriptedFacts();
  let current: PolicyOptions = NO_POLICIES;
  const all = new Policies({ current: () => current, facts, drainTimeoutMs: 900_000 });
  facts.askHealth = () => {
    current = { ...NO_POLICIES, defaults: options() };
    return Promise.resolve(NOT_ASKED);
  };
  const { reasons } = await all.judge(question());
  deepEqual(reasons.map(({ kind, rule }) => [kind, rule]), [["policy_undecided", "config"]]);
});

Deno.test("a return that seems to lie ahead counts from when it was first seen, and ends", () => {
  const facts = new ScriptedFacts();
  const all = policies(facts, { settleMs: 60_000 });
  const state = { ...FREE, notes: { returned: NOW + 365 * 24 * 3_600_000 } };
  equal(all.peek(question(state)).reasons[0]!.until, NOW + 60_000);
  facts.time = NOW + 59_999;
  equal(all.peek(question(state)).reasons[0]!.until, NOW + 60_000);
  facts.time = NOW + 60_000;
  deepEqual(all.peek(question(state)).reasons, []);
  // Another one counts anew.
  equal(all.peek(question({ ...FREE, notes: { returned: NOW * 2 } })).reasons[0]!.until, NOW + 120_000);
});

Deno.test("a rule that lets grants go on is told while its monitor cannot be asked, and one that refuses is not", () => {
  const facts = new ScriptedFacts();
  const prometheus = { url: "http://p", queries: [], onError: "allow" as const };
  const alertmanager = { url: "http://a", alerts: "x", onError: "refuse" as const };
  const asked = policies(facts, { health: { prometheus, alertmanager } });
  deepEqual(asked.passedOver(WORKERS), []);
  facts.failures = { prometheus: "it cannot be reached", alertmanager: "it did not answer in time" };
  deepEqual(asked.passedOver(WORKERS), [{ rule: "health.prometheus", reason: "it cannot be reached" }]);
});
