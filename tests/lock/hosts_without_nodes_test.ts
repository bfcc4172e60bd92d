/**
 * A host without a Node: the reading that proves that it has none comes before the write that takes its slot, and the yes
 * rests on both. What must not happen in between is tried here.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { ABSENT, MemoryBackend, MemoryLockStore } from "../../src/lock/lock_store.ts";
import type { LookOutcome } from "../../src/lock/node_keeper.ts";
import type { PreRebootOutcome } from "../../src/lock/outcomes.ts";
import { FREE, type Holder } from "../../src/lock/semaphore.ts";
import { PROOF_TTL_MS } from "../../src/lock/yes.ts";
import { HastyClock } from "../support/fake_clock.ts";
import { drained, NO_NODE, noted, ScriptedKeeper, worker } from "../support/scripted_keeper.ts";
import { reason, ScriptedPolicy } from "../support/scripted_policy.ts";

const group = parseGroup("default")!;
const alice = parseClientId("alice")!;
const bob = parseClientId("bob")!;

/** A service whose watch of the Nodes shows none of the client. `during` happens during the reading, which shows `fresh`. */
function setUp({ fresh, during = async () => {} }: { fresh?: LookOutcome; during?: () => Promise<void> } = {}) {
  const backend = new MemoryBackend();
  const held = (): Holder | undefined => backend.groups.get(group)?.state.holders[0];
  const clock = new HastyClock();
  const keeper = new ScriptedKeeper(held);
  keeper.looks = async (depth) => {
    if (depth === "seen") return { kind: "clear" };
    const readAt = clock.monotonic();
    await during();
    return fresh ?? { kind: "clear", readAt };
  };
  keeper.drains = () => Promise.resolve({ ...NO_NODE, readAt: clock.monotonic() });
  const policy = new ScriptedPolicy();
  const calls: string[] = [];
  const store = new MemoryLockStore(backend);
  const { read, write } = { read: store.read.bind(store), write: store.write.bind(store) };
  store.read = (...args) => {
    calls.push("read");
    return read(...args);
  };
  store.write = (...args) => {
    calls.push("write");
    return write(...args);
  };
  const told: string[] = [];
  const observer = { grantedWithoutNode: () => told.push("without a node") };
  const locks = new LockService(store, { keeper, clock, policy, observer, random: () => 0 });
  return { backend, store, keeper, clock, policy, held, locks, calls, told };
}

function kindOf(outcome: PreRebootOutcome): string {
  return outcome.kind === "refused" ? outcome.refusal.kind : outcome.kind;
}

/** Puts a hold into a backend, in the place of what is there. */
async function put(backend: MemoryBackend, holder: Partial<Holder> & { id: ClientId }): Promise<void> {
  const now = backend.groups.get(group) ?? ABSENT;
  const holders = [{ since: 1_000, ...holder }];
  await new MemoryLockStore(backend).write(group, now, { holders, transitions: 1, renewed: 1_000 });
}

Deno.test("a host without a Node gets its yes right after the write of its grant, which comes after the reading", async () => {
  let before: Holder | undefined;
  const { backend, keeper, held, locks, calls, told } = setUp({
    during: () => {
      before = held();
      calls.push("nodes");
      return Promise.resolve();
    },
  });
  await new MemoryLockStore(backend).write(group, ABSENT, FREE);
  equal(kindOf(await locks.preReboot(alice, group)), "granted");
  equal(before, undefined);
  deepEqual(calls, ["read", "nodes", "write"]);
  deepEqual([keeper.depths, keeper.drained], [["seen", "fresh"], []]);
  deepEqual(told, ["without a node"]);
});

Deno.test("a look that has read the Nodes is not made again", async () => {
  const { keeper, clock, locks } = setUp();
  keeper.looks = () => Promise.resolve({ kind: "clear", readAt: clock.monotonic() });
  equal(kindOf(await locks.preReboot(alice, group)), "granted");
  deepEqual([keeper.depths, keeper.drained], [["seen"], []]);
});

Deno.test("a client that the policies refuse costs no reading of the Nodes", async () => {
  const { keeper, policy, locks } = setUp();
  policy.judges = { reasons: [reason("paused")] };
  equal(kindOf(await locks.preReboot(alice, group)), "paused");
  deepEqual(keeper.depths, ["seen"]);
});

Deno.test("a Node that the reading finds is judged, noted with the grant and drained", async () => {
  const { keeper, policy, held, locks, told } = setUp({ fresh: { kind: "clear", node: worker } });
  keeper.drains = drained();
  equal(kindOf(await locks.preReboot(alice, group)), "granted");
  deepEqual(policy.judged.map(({ node }) => node), [undefined, worker]);
  deepEqual(keeper.drained.map(({ node }) => node), [noted("draining")]);
  deepEqual([held()?.node, told], [noted("drained"), []]);
});

Deno.test("a Node that the reading finds is not drained where the policies speak against that Node", async () => {
  const { keeper, policy, held, locks } = setUp({ fresh: { kind: "clear", node: worker } });
  policy.judges = ({ node }) => ({ reasons: node === undefined ? [] : [reason("node_on_hold")] });
  equal(kindOf(await locks.preReboot(alice, group)), "node_on_hold");
  deepEqual([held(), keeper.drained], [undefined, []]);
});

for (
  const [fresh, refusal] of [
    [{ kind: "ambiguous", nodes: ["a", "b"] }, "node_ambiguous"],
    [{ kind: "drain_refused", node: "a", pods: [] }, "drain_refused"],
    [{ kind: "permission_missing", permission: "list nodes" }, "permission_missing"],
  ] as const
) {
  Deno.test(`a reading that is ${fresh.kind} takes no slot`, async () => {
    const { held, locks } = setUp({ fresh });
    equal(kindOf(await locks.preReboot(alice, group)), refusal);
    equal(held(), undefined);
  });
}

Deno.test("what speaks against a grant since the reading of the Nodes is seen before the write", async () => {
  const { policy, held, locks } = setUp({
    during: () => {
      policy.peeks = { reasons: [reason("outside_window")] };
      return Promise.resolve();
    },
  });
  equal(kindOf(await locks.preReboot(alice, group)), "outside_window");
  equal(held(), undefined);
});

Deno.test("a slot that another host takes during the reading of the Nodes is not granted", async () => {
  const { backend, held, locks } = setUp({ during: () => put(backend, { id: bob }) });
  equal(kindOf(await locks.preReboot(alice, group)), "lock_held");
  equal(held()?.id, bob);
});

for (const node of [undefined, noted("draining")]) {
  Deno.test(`a hold that the client gets during the reading, ${node ? "on a Node" : "without one"}, is proven anew`, async () => {
    const { backend, keeper, locks } = setUp({ during: () => put(backend, { id: alice, node }) });
    keeper.drains = node === undefined ? NO_NODE : drained();
    equal(kindOf(await locks.preReboot(alice, group)), "renewed");
    deepEqual(keeper.drained.map((hold) => hold.node), [node]);
  });
}

Deno.test("a slot that is taken and freed again during the reading is granted, and the yes rests on that grant", async () => {
  const { backend, keeper, clock, held, locks } = setUp({
    during: async () => {
      const rival = new LockService(new MemoryLockStore(backend), { clock, random: () => 0 });
      equal(kindOf(await rival.preReboot(alice, group)), "granted");
      equal((await rival.steadyState(alice, group)).kind, "released");
      await clock.advance(1);
    },
  });
  const outcome = await locks.preReboot(alice, group);
  ok(outcome.kind === "granted");
  deepEqual([outcome.holder, keeper.drained], [held(), []]);
});

for (
  const [what, readingMs, writingMs, drains] of [
    ["a reading of 1,001 ms", 1_001, 0, 0],
    ["a write of 1,000 ms", 0, 1_000, 0],
    ["a write of 1,001 ms", 0, 1_001, 1],
    ["a reading that is as old as a proof may be", PROOF_TTL_MS, 0, 0],
    ["a reading that is older", PROOF_TTL_MS + 1, 0, 1],
  ] as const
) {
  Deno.test(`${what} makes a host without a Node be looked for ${drains === 0 ? "once" : "again"}`, async () => {
    const { store, keeper, clock, held, locks } = setUp({
      during: async () => {
        await clock.advance(readingMs);
      },
    });
    // A Node has joined meanwhile, and its pods are still there.
    keeper.drains = (hold) => {
      return Promise.resolve(
        hold.node === undefined ? { kind: "moved", node: worker } : { kind: "draining", node: worker.name, pods: [] },
      );
    };
    const write = store.write.bind(store);
    let writes = 0;
    store.write = async (...args) => {
      const written = await write(...args);
      if (++writes === 1) await clock.advance(writingMs);
      return written;
    };
    equal(kindOf(await locks.preReboot(alice, group)), drains === 0 ? "granted" : "draining");
    deepEqual(held()?.node, drains === 0 ? undefined : noted("draining"));
  });
}

Deno.test("a judgment that takes long after the look has read the Nodes makes them be read again", async () => {
  const { keeper, policy, clock, locks } = setUp();
  keeper.looks = () => Promise.resolve({ kind: "clear", readAt: clock.monotonic() });
  policy.judges = async () => {
    await clock.advance(1_001);
    return {};
  };
  equal(kindOf(await locks.preReboot(alice, group)), "granted");
  equal(keeper.drained.length, 1);
});

Deno.test("a hold on which another replica notes a Node, while that Node is looked for, is no hold without a Node", async () => {
  const { backend, keeper, held, locks } = setUp();
  await put(backend, { id: alice });
  keeper.drains = async () => {
    await put(backend, { id: alice, node: noted("draining") });
    return NO_NODE;
  };
  equal(kindOf(await locks.preReboot(alice, group)), "contended");
  deepEqual(held()?.node, noted("draining"));
});
