import { deepEqual, equal } from "node:assert/strict";
import type { FleetView, SeenNode } from "../../src/keeper/fleet_view.ts";
import { FREE } from "../../src/lock/semaphore.ts";
import type { PolicyQuestion } from "../../src/lock/policy.ts";
import { Monitors } from "../../src/policies/monitors.ts";
import { knownOf } from "../../src/policies/snapshot.ts";
import { Facts } from "../../src/service/facts.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { HOST, options, WORKERS } from "../policies/support.ts";

const COUNTING = options({ unavailable: "count" });

function seen(name: string, more: Partial<SeenNode> = {}): SeenNode {
  return { name, uid: `uid-${name}`, isReady: true, isCordoned: false, ...more };
}

/** Facts over a scripted fleet, in which the host of {@link HOST} runs on the node "a". */
function setUp(fleet: Partial<FleetView> | undefined = {}) {
  const clock = new FakeClock();
  const calls: string[] = [];
  const all = [seen("a"), seen("b")];
  const scripted = {
    isSynced: true,
    edition: 1,
    count: () => {
      calls.push("count");
      return { count: 3, suspects: all };
    },
    candidates: (id: string) => {
      equal(id, HOST);
      return [all[0]!];
    },
    find: ({ uid }: { uid: string }) => all.find((one) => one.uid === uid),
    read: ({ name }: { name: string }) => {
      calls.push(`read ${name}`);
      return Promise.resolve(seen(name, { hold: "x" }));
    },
    podsOn: ({ name }: { name: string }) => {
      calls.push(`pods ${name}`);
      return Promise.resolve(["apps/job"]);
    },
    budgetRefusals: ({ name }: { name: string }) => {
      calls.push(`budgets ${name}`);
      return Promise.reject(new Error("no route to 10.0.0.1"));
    },
    ...fleet,
  };
  const time = { now: () => clock.now(), isFresh: () => true, hear: () => Promise.resolve() };
  const facts = new Facts({ time, fleet: scripted as unknown as FleetView, monitors: new Monitors({ clock }), clock });
  return { facts, clock, calls, scripted };
}

function question(node?: string): PolicyQuestion {
  const noted = node === undefined ? {} : { node: { name: node, uid: `uid-${node}` } };
  return { group: WORKERS, id: HOST, state: FREE, ...noted };
}

Deno.test("only rules that count nodes are shown them, counted once for each change", () => {
  const { facts, calls, scripted } = setUp();
  equal(facts.nodes(options()).kind, "not_asked");
  deepEqual(calls, []);
  const first = facts.nodes(COUNTING);
  equal(first.kind === "known" && first.value.count, 3);
  for (let n = 0; n < 3; n++) equal(facts.nodes(COUNTING), first);
  deepEqual(calls, ["count"]);
  scripted.edition++;
  equal(facts.nodes(COUNTING) === first, false);
  deepEqual(calls, ["count", "count"]);
});

Deno.test("the nodes on which a client may run are those of its id, or the one that is noted", () => {
  const { facts } = setUp();
  const names = (of: PolicyQuestion) => knownOf(facts.asking(of)).map(({ name }) => name);
  deepEqual(names(question()), ["a"]);
  deepEqual(names(question("b")), ["b"]);
  deepEqual(names(question("gone")), []);
});

Deno.test("while the watch is behind, counting fails, and a judgement reads the asking node for its hold", async () => {
  const { facts, calls } = setUp({ isSynced: false } as Partial<FleetView>);
  equal(facts.nodes(COUNTING).kind, "failed");
  equal(facts.nodes(options()).kind, "not_asked");
  equal(facts.asking(question()).kind, "not_asked");
  const asked = question("a");
  await facts.askHealth(COUNTING, asked);
  deepEqual(calls, ["read a"]);
  const gathered = facts.asking(asked);
  deepEqual(gathered.kind === "known" && gathered.value.map(({ hold }) => hold), ["x"]);
});

Deno.test("without draining, counting fails with a sentence, and other rules see no nodes", () => {
  const clock = new FakeClock();
  const time = { now: () => 0, isFresh: () => true, hear: () => Promise.resolve() };
  const facts = new Facts({ time, monitors: new Monitors({ clock }), clock });
  equal(facts.nodes(COUNTING).kind, "failed");
  deepEqual(facts.asking(question()), { kind: "known", value: [] });
});

Deno.test("pods and budgets are asked for the asking node only, and a look finds what was asked", async () => {
  const { facts, calls, clock } = setUp();
  const careful = options({ health: { blockingPods: "job", budgets: "refuse" } });
  equal(facts.knownHealth(careful, question()).blockingPods.kind, "not_asked");
  deepEqual(calls, []);
  const health = await facts.askHealth(careful, question("a"));
  deepEqual([health.blockingPods, health.budgets], [
    { kind: "known", value: ["apps/job"] },
    { kind: "failed", reason: "the API server does not answer" },
  ]);
  // Neither a judgement nor a look asks again, whether the node is known by now or not.
  await facts.askHealth(careful, question("a"));
  deepEqual(facts.knownHealth(careful, question()), health);
  deepEqual(facts.knownHealth(careful, question("a")), health);
  equal(facts.knownHealth(careful, question("b")).budgets.kind, "not_asked");
  deepEqual(calls, ["pods a", "budgets a"]);
  await clock.advance(10_000);
  equal(facts.knownHealth(careful, question()).budgets.kind, "not_asked");
});
