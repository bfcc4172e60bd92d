/** What the observer finds, and what it does not take for a fault. @module */

import { deepEqual, equal, match } from "node:assert/strict";
import { SimulatedProcess } from "./engine/process.ts";
import { Scheduler } from "./engine/scheduler.ts";
import { Observer } from "./observer.ts";
import { planOf } from "./plan.ts";
import { Timeline } from "./timeline.ts";
import type { Machine } from "./world/machine.ts";
import { KINDS, type Stored } from "./world/objects.ts";
import type { Replica } from "./world/replica.ts";
import { World } from "./world.ts";

const REPLICA = { name: "r1" } as Replica;
const MACHINES = { a: { name: "n1", id: "a" } as Machine, b: { name: "n2", id: "b" } as Machine };

function observerOf(seesLocks: boolean): Observer {
  const scheduler = new Scheduler(Date.UTC(2030, 0, 1));
  const observer = new Observer(scheduler, new Timeline(() => scheduler.now));
  observer.seesLocks = seesLocks;
  observer.writer = () => "r1";
  return observer;
}

function lease(...holders: string[]): Stored {
  const record = JSON.stringify(holders.map((id) => ({ id })));
  return {
    metadata: { name: "fleetlock-g", annotations: { "fleetlock.internal/holders": record } },
    spec: { holderIdentity: holders.join(",") },
  } as Stored;
}

function write(observer: Observer, before: Stored | undefined, object: Stored): void {
  const type = before === undefined ? "ADDED" : "MODIFIED";
  observer.changed({ type, kind: KINDS.leases!, key: "ops/fleetlock-g", object, before, revision: 1 });
}

/** A host gets its yes. */
function yes(observer: Observer, id: "a" | "b"): void {
  const asked = observer.asked(id, "g", "pre-reboot", MACHINES[id]);
  asked.arrived();
  asked.responded(true);
  observer.yes(observer.begin(id, "g", MACHINES[id]), asked);
}

/** A host reports; with a status, it is answered. */
function report(observer: Observer, id: "a" | "b", status?: number): void {
  for (const turn of observer.turnsOf("g").filter((one) => one.id === id)) turn.reportedAt ??= Date.UTC(2030, 0, 1);
  const asked = observer.asked(id, "g", "steady-state", MACHINES[id]);
  asked.arrived();
  const answer = status === undefined ? undefined : { status, text: "{}" };
  observer.replied(id, "g", "steady-state", REPLICA, asked, answer, "node_not_ready");
}

function exclusionsOf(observer: Observer): number {
  return observer.violations.filter(({ kind }) => kind === "exclusion").length;
}

Deno.test("a host that has reported is in its turn until the Lease no longer has its hold", () => {
  for (const [isReleased, expected] of [[false, 1], [true, 0]] as const) {
    const observer = observerOf(true);
    const [held, free] = [lease("a"), lease()];
    write(observer, undefined, held);
    yes(observer, "a");
    report(observer, "a");
    if (isReleased) write(observer, held, free);
    yes(observer, "b");
    equal(exclusionsOf(observer), expected);
    const [exclusion] = observer.violations.filter(({ kind }) => kind === "exclusion");
    deepEqual(exclusion?.about, isReleased ? undefined : ["b", "n2", "a", "n1", "g"]);
  }
});

Deno.test("where the locks are not seen, a host is in its turn until a report of it may have freed its slot", () => {
  const inTurnAfter = (...statuses: (number | undefined)[]) => {
    const observer = observerOf(false);
    yes(observer, "a");
    for (const status of statuses) report(observer, "a", status);
    yes(observer, "b");
    return exclusionsOf(observer) === 1;
  };
  deepEqual([inTurnAfter(), inTurnAfter(423), inTurnAfter(423, 423)], [true, true, true]);
  deepEqual([inTurnAfter(200), inTurnAfter(undefined), inTurnAfter(undefined, 423), inTurnAfter(503)], [
    false,
    false,
    false,
    false,
  ]);
});

Deno.test("what a restore of etcd does is noted for the histories, and nothing where it changes nothing", () => {
  const observer = observerOf(true);
  const [before, after] = [lease("a"), lease("b")];
  write(observer, undefined, before);
  observer.writer = () => undefined;
  observer.restoring([{ group: "g", id: "a" }]);
  equal(observer.operations.length, 0);
  write(observer, before, after);
  deepEqual(observer.operations.map(({ client, outcome }) => [client, outcome]), [["a", "released"], ["b", "granted"]]);
  equal(observer.operations[0]!.completed! < observer.operations[1]!.invoked, true);
});

Deno.test("neither an eviction nor a deletion may leave once the node was shown uncordoned, of the very pod", () => {
  const sent = (method: string, suffix: string, options: (uid: string) => object, isCordoned: boolean) => {
    using world = new World(planOf(1));
    const process = new SimulatedProcess(world.scheduler);
    const pod = world.api.store.create("pods", {
      metadata: { namespace: "default", name: "web" },
      spec: { nodeName: "n1" },
      status: {},
    });
    const node = { kind: "Node", metadata: { name: "n1", resourceVersion: "5" }, spec: { unschedulable: isCordoned } };
    world.evictions.shown(process, node as Stored);
    const body = JSON.stringify(options(pod.metadata.uid));
    const path = `/api/v1/namespaces/default/pods/web${suffix}`;
    world.evictions.sent(process, { method, path, body, user: "r1", accept: "" });
    return world.observer.violations.map(({ message }) => message);
  };
  const deletion = (uid: string) => ({ preconditions: { uid } });
  const eviction = (uid: string) => ({ deleteOptions: { preconditions: { uid } } });
  match(sent("DELETE", "", deletion, false).join(), /^r1 deletes default\/web although n1 was shown uncordoned$/);
  match(sent("POST", "/eviction", eviction, false).join(), /^r1 evicts default\/web although n1/);
  deepEqual(sent("DELETE", "", deletion, true), []);
  deepEqual(sent("DELETE", "", () => deletion("another"), false), []);
  deepEqual(sent("GET", "", () => ({}), false), []);
});

Deno.test("a report frees the slot of a host without a Node only once its reply is due, where its hold notes a Node", () => {
  const machine = { ...MACHINES.a, machineId: "m", isBack: true } as Machine;
  const DUE_MS = 240_000;
  const fact = { uid: "1", machineId: "m", bootId: "1", unschedulable: true };
  for (
    const [what, isNoted, node, waitMs, expected] of [
      ["it has no Node", true, undefined, DUE_MS - 3_000, 1],
      ["it has no Node", true, undefined, DUE_MS, 0],
      ["the hold notes none", false, undefined, DUE_MS - 3_000, 0],
      ["the noted Node has lost its id", true, { ...fact, machineId: "" }, DUE_MS - 3_000, 0],
      ["another Node has its id", true, { ...fact, uid: "2" }, DUE_MS - 3_000, 0],
      ["there is the Node of another host", true, { ...fact, uid: "2", machineId: "n" }, DUE_MS - 3_000, 1],
    ] as const
  ) {
    const observer = observerOf(true);
    const record = JSON.stringify([{ id: "a", ...(isNoted && { node: "n1", uid: "1" }) }]);
    const held = lease("a");
    held.metadata.annotations["fleetlock.internal/holders"] = record;
    observer.history.nodes.add("n1", { revision: 1, at: 0, fact: fact as never });
    observer.history.nodes.add("n1", { revision: 2, at: 1 });
    if (node !== undefined) observer.history.nodes.add("n2", { revision: 3, at: 2, fact: node as never });
    write(observer, undefined, held);
    const asked = observer.asked("a", "g", "pre-reboot", machine);
    asked.arrived();
    asked.responded(true);
    const turn = observer.begin("a", "g", machine);
    observer.yes(turn, asked);
    turn.reportedAt = Date.UTC(2030, 0, 1) - waitMs;
    write(observer, held, lease());
    const found = observer.violations.filter(({ kind }) => kind === "early release");
    equal(found.length, expected, what);
  }
});
