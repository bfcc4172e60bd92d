/**
 * What pre-reboot and steady-state answer, by everything that they can see: each outcome of the keeper's look and
 * drain, a lock that is being deleted, a store that keeps something else than it is given, and time that passes.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { type ClientId, type Group, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { LockService, type LockServiceOptions } from "../../src/lock/lock_service.ts";
import { ABSENT, type Ending, MemoryBackend, MemoryLockStore } from "../../src/lock/lock_store.ts";
import type { DrainOutcome, Hold, LookOutcome, NodeIdentity } from "../../src/lock/node_keeper.ts";
import type { PreRebootOutcome, SteadyStateOutcome } from "../../src/lock/outcomes.ts";
import { FREE, type Holder } from "../../src/lock/semaphore.ts";
import { PROOF_TTL_MS, type SeenPod } from "../../src/lock/yes.ts";
import { HastyClock } from "../support/fake_clock.ts";
import { AlteringStore, type Rival } from "../support/faulty_stores.ts";
import { drained, NO_NODE, noted, ScriptedKeeper, timedOut, worker } from "../support/scripted_keeper.ts";

const group = parseGroup("default")!;
const other = parseGroup("other")!;
const alice = parseClientId("alice")!;
const bob = parseClientId("bob")!;
const pods = [{ namespace: "web", name: "web-0", reason: "its budget allows no disruption now" }];
const second: NodeIdentity = { name: "worker-2", uid: "uid-2", bootId: "boot-9" };

interface SetUp extends LockServiceOptions {
  readonly keeperless?: boolean;
  readonly alter?: Rival;
}

function setUp({ keeperless, alter, ...options }: SetUp = {}) {
  const backend = new MemoryBackend();
  const held = (of = group) => backend.groups.get(of)?.state.holders[0];
  const keeper = new ScriptedKeeper(() => held());
  const clock = new HastyClock();
  const store = new AlteringStore(alter, backend);
  const locks = new LockService(store, {
    keeper: keeperless ? undefined : keeper,
    clock,
    random: () => 0,
    ...options,
  });
  return { backend, clock, keeper, store, locks, held };
}

/** The kind of an outcome, or of its refusal. */
function kindOf(outcome: PreRebootOutcome | SteadyStateOutcome): string {
  return outcome.kind === "refused" ? outcome.refusal.kind : outcome.kind;
}

/** Puts a hold into a backend, as an earlier request left it. */
async function put(backend: MemoryBackend, holder: Partial<Holder>, of: Group = group): Promise<Holder> {
  const whole: Holder = { id: alice, since: 1_000, ...holder };
  await new MemoryLockStore(backend).write(of, ABSENT, { holders: [whole], transitions: 1, renewed: 1_000 });
  return whole;
}

const LOOKS: [look: LookOutcome, refusal: object | undefined][] = [
  [{ kind: "clear", node: worker }, undefined],
  [{ kind: "clear" }, undefined],
  [{ kind: "ambiguous", nodes: ["a", "b"] }, { kind: "node_ambiguous", nodes: ["a", "b"] }],
  [{ kind: "drain_refused", node: "a", pods }, { kind: "drain_refused", node: "a", pods }],
  [{ kind: "permission_missing", permission: "patch nodes" }, {
    kind: "permission_missing",
    permission: "patch nodes",
  }],
];

for (const [look, refusal] of LOOKS) {
  const node = "node" in look ? "a node" : "no node";
  Deno.test(`a look that is ${look.kind} with ${node} ${refusal ? "takes no slot and drains nothing" : "grants"}`, async () => {
    const { keeper, locks, held } = setUp();
    keeper.looks = look;
    keeper.drains = look.kind === "clear" && look.node === undefined ? NO_NODE : drained();
    const outcome = await locks.preReboot(alice, group);
    if (refusal === undefined) {
      equal(outcome.kind, "granted");
      return;
    }
    deepEqual(outcome, { kind: "refused", refusal });
    equal(held(), undefined);
    deepEqual(keeper.drained, []);
    keeper.looks = { kind: "clear", node: worker };
    keeper.drains = drained();
    equal((await locks.preReboot(bob, group)).kind, "granted", "others go on");
  });
}

const seenPod: SeenPod = { namespace: "web", name: "web-0", createdAt: 1, toleratesCordon: false, controller: "rs" };
const schedulable = { uid: worker.uid, unschedulable: false, deleting: false };
const ending = { uid: worker.uid, unschedulable: true, deleting: true };

/** What a drain's outcome answers, and which phase the hold of {@link worker} has afterwards. */
const DRAINS: [what: string, outcome: DrainOutcome, answer: string, phase: string][] = [
  ["drained", drained(), "renewed", "drained"],
  ["drained, but with a pod left", drained(worker, { pods: [seenPod] }), "draining", "draining"],
  ["drained, but uncordoned", drained(worker, { node: schedulable }), "draining", "draining"],
  ["drained, but with a Node that is being deleted", drained(worker, { node: ending }), "draining", "draining"],
  ["drained, by evidence of another Node", { ...drained(second), node: worker }, "contended", "draining"],
  ["drained, of another Node than is noted", drained(second), "contended", "draining"],
  ["drained without a Node, though one is noted", NO_NODE, "contended", "draining"],
  ["drained, by a Node that differs from its evidence", { ...drained(), node: second }, "contended", "draining"],
  ["timed out, on another Node than is noted", timedOut(second), "contended", "draining"],
  ["timed out", timedOut(), "renewed", "drained"],
  ["timed out, but uncordoned", timedOut(worker, { node: schedulable }), "draining", "draining"],
  ["timed out, with a Node that is being deleted", timedOut(worker, { node: ending }), "draining", "draining"],
  ["draining", { kind: "draining", node: "worker-1", pods }, "draining", "draining"],
  ["failed", { kind: "failed", node: "worker-1", pods }, "drain_failed", "failed"],
  ["ambiguous", { kind: "ambiguous", nodes: ["a", "b"] }, "node_ambiguous", "draining"],
  ["unreadable", { kind: "unreadable" }, "hold_unreadable", "draining"],
  ["abandoned", { kind: "abandoned" }, "contended", "draining"],
];

for (const [what, outcome, answer, phase] of DRAINS) {
  Deno.test(`a drain that is ${what} answers ${answer}`, async () => {
    const { backend, keeper, locks, held } = setUp();
    const { since } = await put(backend, { node: noted("draining") });
    keeper.drains = outcome;
    equal(kindOf(await locks.preReboot(alice, group)), answer);
    equal(held()?.node?.phase, phase);
    equal(held()?.node?.uid, worker.uid);
    equal(held()?.since, since);
  });
}

Deno.test("a pod that came after the drain is named in the refusal", async () => {
  const { keeper, locks } = setUp();
  keeper.drains = drained(worker, { pods: [seenPod] });
  deepEqual(await locks.preReboot(alice, group), {
    kind: "refused",
    refusal: {
      kind: "draining",
      node: "worker-1",
      pods: [{ namespace: "web", name: "web-0", reason: "it is still there" }],
    },
  });
});

Deno.test("a node is not noted as drained where the evidence is not enough, however long the drain lasted", async () => {
  const { clock, keeper, locks, held } = setUp();
  keeper.drains = async () => {
    await clock.advance(60_000);
    return { ...drained(worker, { pods: [seenPod] }), readAt: clock.monotonic() };
  };
  equal(kindOf(await locks.preReboot(alice, group)), "draining");
  equal(held()?.node?.phase, "draining");
});

for (const kind of ["failed", "draining"] as const) {
  Deno.test(`a drain that is ${kind} leaves a hold noted as drained, since a yes may have rested on it`, async () => {
    const { backend, keeper, locks, held } = setUp();
    await put(backend, { node: noted("drained") });
    keeper.drains = { kind, node: "worker-1", pods };
    equal((await locks.preReboot(alice, group)).kind, "refused");
    deepEqual(held()?.node, noted("drained"));
  });
}

for (const from of [undefined, worker]) {
  Deno.test(`a hold ${from ? "whose Node is gone" : "without a Node"} moves to the host's Node, and the drain is asked again about that`, async () => {
    const { backend, keeper, locks, held } = setUp();
    await put(backend, from ? { node: noted("draining") } : {});
    keeper.drains = (hold) => {
      if (hold.node?.uid !== second.uid) return Promise.resolve({ kind: "moved", node: second });
      deepEqual(held()?.node, noted("draining", second), "the note comes before the drain");
      return Promise.resolve(drained(second));
    };
    equal((await locks.preReboot(alice, group)).kind, "renewed");
    deepEqual(keeper.drained.map((hold) => hold.node?.name), [from?.name, "worker-2"]);
    deepEqual(held()?.node, noted("drained", second));
  });
}

Deno.test("a hold that moves for ever gets no yes", async () => {
  const { keeper, locks } = setUp();
  let moves = 0;
  keeper.drains = () => Promise.resolve({ kind: "moved", node: { name: "n", uid: `uid-${++moves}` } });
  equal(kindOf(await locks.preReboot(alice, group)), "contended");
  equal(moves, 4);
});

Deno.test("a move does not take back what another request noted of the same Node", async () => {
  const { backend, keeper, store, locks, held } = setUp();
  await put(backend, {});
  keeper.drains = async () => {
    keeper.drains = { kind: "draining", node: "worker-1", pods };
    const found = await store.read(group);
    await store.write(group, found, { ...found.state, holders: [{ ...held()!, node: noted("drained") }] });
    return { kind: "moved", node: { ...worker, bootId: "boot-2" } };
  };
  equal(kindOf(await locks.preReboot(alice, group)), "draining");
  deepEqual(held()?.node, noted("drained"));
});

Deno.test("a drain of a Node that another request has moved the hold away from is not noted", async () => {
  const { backend, keeper, store, locks, held } = setUp();
  await put(backend, { node: noted("draining") });
  keeper.drains = async () => {
    const found = await store.read(group);
    await store.write(group, found, { ...found.state, holders: [{ ...held()!, node: noted("draining", second) }] });
    return drained();
  };
  equal(kindOf(await locks.preReboot(alice, group)), "contended");
  deepEqual(held()?.node, noted("draining", second));
});

Deno.test("all waits for the keeper together last no longer than a reply may", async () => {
  const { clock, keeper, locks } = setUp({ replyWaitMs: 10_000 });
  const waits: number[] = [];
  keeper.drains = async (_hold, waitMs) => {
    waits.push(waitMs);
    await clock.advance(6_000);
    return waits.length < 3
      ? { kind: "moved", node: { name: "n", uid: `uid-${waits.length}` } }
      : { kind: "draining", node: "n", pods };
  };
  equal(kindOf(await locks.preReboot(alice, group)), "draining");
  deepEqual(waits, [10_000, 4_000, 0]);
});

Deno.test("a hold whose record cannot be read is told to the keeper, and never counts as one without a Node", async () => {
  const { backend, keeper, locks, held } = setUp();
  await put(backend, { isNodeUnreadable: true, extra: { node: 7 } });
  keeper.drains = NO_NODE;
  equal(kindOf(await locks.preReboot(alice, group)), "contended");
  equal(keeper.drained[0]?.isNodeUnreadable, true);
  deepEqual(held()?.extra, { node: 7 });
  const asked: Hold[] = [];
  keeper.awaitReturn = (hold: Hold) => {
    asked.push(hold);
    return Promise.resolve({ kind: "ready" });
  };
  equal((await locks.steadyState(alice, group)).kind, "released");
  equal(asked[0]?.isNodeUnreadable, true);
});

/** When the time passes, and how often the keeper is asked for a yes. */
const PAUSES: [when: string, ms: number, keeperless: boolean, drains: number][] = [
  ["during the grant's write", PROOF_TTL_MS, true, 0],
  ["during the grant's write", PROOF_TTL_MS + 1, true, 0],
  ["during the search for the Node", PROOF_TTL_MS, false, 1],
  ["during the search for the Node", PROOF_TTL_MS + 1, false, 2],
  ["after the search for the Node", 1_000, false, 1],
  ["after the search for the Node", 1_001, false, 2],
  ["during the note's write", 1_000, false, 1],
  ["during the note's write", 1_001, false, 2],
  ["during the note's write", PROOF_TTL_MS, false, 2],
  ["during the note's write", PROOF_TTL_MS + 1, false, 2],
];

for (const [when, ms, keeperless, drains] of PAUSES) {
  Deno.test(`a pause of ${ms} ms ${when} makes a yes rest on ${drains > 1 || ms > PROOF_TTL_MS ? "another proof" : "the same proof"}`, async () => {
    const { keeper, clock, store, locks, held } = setUp({ keeperless });
    let pauses = 0;
    const pause = async () => {
      if (pauses++ === 0) await clock.advance(ms);
    };
    keeper.drains = async () => {
      if (when === "during the search for the Node") {
        await pause();
      }
      if (when.includes("search for the Node")) return { ...NO_NODE, confirmedAt: clock.monotonic() };
      return drained();
    };
    keeper.looks = when.includes("search for the Node") ? { kind: "clear" } : { kind: "clear", node: worker };
    const writes: number[] = [];
    const write = store.write.bind(store);
    store.write = async (...args) => {
      writes.push(clock.monotonic());
      const written = await write(...args);
      if (when === "during the grant's write" || (when.includes("note") && writes.length === 2)) await pause();
      return written;
    };
    const read = store.read.bind(store);
    store.read = async (...args) => {
      if (when === "after the search for the Node" && keeper.drained.length > 0) await pause();
      return await read(...args);
    };
    equal((await locks.preReboot(alice, group)).kind, "granted", "it is a grant all the same");
    equal(keeper.drained.length, drains);
    equal(held()?.id, alice);
    ok(clock.monotonic() - writes.at(-1)! <= PROOF_TTL_MS);
    const enough = when.includes("note") ? 2 : 1;
    equal(writes.length > enough, ms > PROOF_TTL_MS);
  });
}

/**
 * The age of the oldest reading when the keeper answers, after a wait of a minute; undefined where the keeper does not
 * tell.
 */
for (
  const [age, drains] of [[0, 1], [1_000, 1], [1_001, 2], [PROOF_TTL_MS, 2], [PROOF_TTL_MS + 1, 2], [
    undefined,
    2,
  ]] as const
) {
  Deno.test(`a yes after a minute's drain whose oldest reading is ${age ?? "?"} ms old takes ${drains} drains`, async () => {
    const { backend, clock, keeper, locks, held } = setUp();
    await put(backend, { node: noted("draining") });
    keeper.drains = async () => {
      const isNoted = keeper.drained.length > 1 && age !== undefined && age <= PROOF_TTL_MS;
      equal(held()?.node?.phase, isNoted ? "drained" : "draining", "what is too old is not noted");
      if (keeper.drained.length > 1) return drained();
      await clock.advance(60_000);
      return { ...drained(), ...(age !== undefined && { readAt: clock.monotonic() - age }) };
    };
    equal((await locks.preReboot(alice, group)).kind, "renewed");
    equal(keeper.drained.length, drains);
  });
}

Deno.test("a client whose Node was read too long ago each time gets no yes", async () => {
  const { backend, clock, keeper, locks } = setUp();
  await put(backend, { node: noted("drained") });
  keeper.drains = () => Promise.resolve({ ...drained(), confirmedAt: clock.monotonic() - 1_001 });
  equal(kindOf(await locks.preReboot(alice, group)), "contended");
  keeper.drains = () => Promise.resolve({ ...drained(), confirmedAt: clock.monotonic() - 1_000 });
  equal(kindOf(await locks.preReboot(alice, group)), "renewed");
});

Deno.test("a client whose every proof comes late gets no yes", async () => {
  const { clock, store, locks } = setUp({ keeperless: true });
  const write = store.write.bind(store);
  let writes = 0;
  store.write = async (...args) => {
    writes++;
    const written = await write(...args);
    await clock.advance(PROOF_TTL_MS + 1);
    return written;
  };
  equal(kindOf(await locks.preReboot(alice, group)), "contended");
  equal(writes, 11);
});

Deno.test("a hold that was replaced by a later one of the client during a pause gets no yes", async () => {
  const { backend, clock, store, locks, held } = setUp({ keeperless: true });
  const rival = new LockService(new MemoryLockStore(backend), { clock });
  const write = store.write.bind(store);
  store.write = async (...args) => {
    store.write = write;
    const written = await write(...args);
    await clock.advance(PROOF_TTL_MS + 1);
    equal((await rival.steadyState(alice, group)).kind, "released");
    equal((await rival.preReboot(alice, group)).kind, "granted");
    return written;
  };
  equal(kindOf(await locks.preReboot(alice, group)), "contended");
  equal(held()?.id, alice);
});

/** How the operations end on a lock that is being deleted. `state` is what it holds when the request comes. */
const ENDING: Ending = { object: "Lease default/fleetlock-default", finalizers: ["example/keep"] };
const ON_ENDING: [what: string, holder: ClientId | undefined, operation: "preReboot" | "steadyState", kind: string][] =
  [
    ["a grant", undefined, "preReboot", "lock_ending"],
    ["a renewal", alice, "preReboot", "lock_ending"],
    ["a request for a slot that another holds", bob, "preReboot", "lock_ending"],
    ["a release", alice, "steadyState", "released"],
    ["a release of nothing", undefined, "steadyState", "not_held"],
  ];

for (const keeperless of [false, true]) {
  for (const watch of [false, true]) {
    for (const [what, holder, operation, kind] of ON_ENDING) {
      Deno.test(`${what} on a lock that is being deleted ends as ${kind}, ${keeperless ? "without" : "with"} drains and ${watch ? "with" : "without"} a watch`, async () => {
        const { backend, keeper, locks } = setUp({ keeperless });
        const holders = holder === undefined ? [] : [{ id: holder, since: 1_000, node: noted("drained") }];
        const found = { state: { ...FREE, holders }, version: 7, ending: ENDING };
        backend.groups.set(group, found);
        backend.version = 7;
        const stop = new AbortController();
        const watching = watch ? locks.watch(stop.signal) : undefined;
        const outcome = await locks[operation](alice, group);
        equal(kindOf(outcome), kind);
        if (outcome.kind === "refused") deepEqual(outcome.refusal, { kind: "lock_ending", ...ENDING });
        if (operation === "preReboot") equal(backend.groups.get(group), found, "nothing is written");
        else deepEqual(backend.groups.get(group)?.state.holders, []);
        deepEqual(keeper.drained, []);
        stop.abort();
        await watching;
      });
    }
  }
}

for (const when of ["before the drain's end is noted", "while it is noted"] as const) {
  Deno.test(`a lock that comes to be deleted ${when} gives no yes`, async () => {
    const { backend, keeper, store, locks, held } = setUp();
    const end = () =>
      backend.groups.set(group, { ...backend.groups.get(group)!, version: ++backend.version, ending: ENDING });
    const write = store.write.bind(store);
    keeper.drains = () => {
      if (when.startsWith("before")) end();
      else {
        store.write = async (...args) => {
          const written = await write(...args);
          return written === "conflict" ? written : { ...written, ending: ENDING };
        };
      }
      return Promise.resolve(drained());
    };
    deepEqual(await locks.preReboot(alice, group), { kind: "refused", refusal: { kind: "lock_ending", ...ENDING } });
    equal(held()?.node?.phase, when.startsWith("before") ? "draining" : "drained", "nothing more is written to it");
  });
}

Deno.test("a lock that comes to be deleted during the look carries no grant", async () => {
  const { backend, keeper, locks, held } = setUp();
  keeper.looks = () => {
    backend.groups.set(group, { state: FREE, version: ++backend.version, ending: ENDING });
    return Promise.resolve({ kind: "clear", node: worker });
  };
  deepEqual(await locks.preReboot(alice, group), { kind: "refused", refusal: { kind: "lock_ending", ...ENDING } });
  equal(held(), undefined);
});

/** What an admission webhook may make of a group. */
const ALTERATIONS: [what: string, alter: Rival][] = [
  ["empties it", (state) => ({ ...state, holders: [] })],
  ["names another holder", (state) => ({ ...state, holders: [{ id: bob, since: 1 }] })],
  ["adds a holder", (state) => ({ ...state, holders: [...state.holders, { id: bob, since: 1 }] })],
  ["changes the time", (state) => ({ ...state, holders: state.holders.map((one) => ({ ...one, since: 1 })) })],
  ["changes the phase", (state) => ({
    ...state,
    holders: state.holders.map((one) => ({ ...one, node: noted("failed") })),
  })],
];

for (const [what, alter] of ALTERATIONS) {
  for (const step of ["grant", "renewal", "note", "release"] as const) {
    // A release leaves no holder, so only a webhook that adds one alters it.
    const changes = step !== "release" || alter({ ...FREE }).holders.length > 0;
    Deno.test(`a store that ${what} during a ${step} ${changes ? "gives neither a yes nor a release" : "keeps what was sent"}`, async () => {
      const granted: ClientId[] = [];
      const { backend, keeper, store, locks } = setUp({ observer: { granted: (_group, { id }) => granted.push(id) } });
      if (step !== "grant") await put(backend, { node: noted("draining") });
      if (step === "note") {
        keeper.drains = () => {
          store.alter = alter;
          return Promise.resolve(drained());
        };
      } else {
        store.alter = alter;
      }
      const outcome = await locks[step === "release" ? "steadyState" : "preReboot"](alice, group);
      equal(kindOf(outcome), changes ? "write_altered" : "released");
      if (step === "grant") deepEqual([granted, keeper.drained], [[], []]);
    });
  }
}

Deno.test("a store that empties every write lets nobody have a yes, one after the other", async () => {
  const { locks } = setUp({ keeperless: true, alter: (state) => ({ ...state, holders: [] }) });
  for (let n = 0; n < 5; n++) {
    equal(kindOf(await locks.preReboot(parseClientId(`host-${n}`)!, group)), "write_altered");
  }
  equal((await locks.steadyState(alice, group)).kind, "not_held", "a fresh read proves that");
});

Deno.test("a store that keeps a holder that was released says so", async () => {
  const { backend, store, locks } = setUp({ keeperless: true });
  const holder = await put(backend, {});
  store.alter = (state) => ({ ...state, holders: [holder] });
  equal(kindOf(await locks.steadyState(alice, group)), "write_altered");
});

Deno.test("a grant without a Node is told once; one with a Node, a renewal and a server without drains are not", async () => {
  for (const [keeperless, node, told] of [[false, undefined, 1], [false, worker, 0], [true, undefined, 0]] as const) {
    const withoutNode: [Group, ClientId][] = [];
    const observer = { grantedWithoutNode: (of: Group, { id }: Holder) => withoutNode.push([of, id]) };
    const { keeper, locks } = setUp({ keeperless, observer });
    keeper.looks = { kind: "clear", node };
    keeper.drains = node ? drained() : NO_NODE;
    equal((await locks.preReboot(alice, group)).kind, "granted");
    equal((await locks.preReboot(alice, group)).kind, "renewed");
    deepEqual(withoutNode, Array(told).fill([group, alice]));
  }
});

/** Whose answer is long under way, and for how long, in milliseconds. Meanwhile, the slot is freed and given to bob. */
for (const write of ["the grant without drains", "the grant of a host without a node", "the note of a drained node"]) {
  for (const [ms, answer] of [[200, "granted"], [201, "contended"], [8_000, "contended"]] as const) {
    Deno.test(`a hold that ends while the answer to ${write} is ${ms} ms under way: ${answer}`, async () => {
      const { backend, clock, keeper, store, locks } = setUp({ keeperless: write.includes("without drains") });
      keeper.looks = write.includes("without") ? { kind: "clear" } : { kind: "clear", node: worker };
      keeper.held = () => undefined;
      keeper.drain = () => Promise.resolve(write.includes("without") ? NO_NODE : drained());
      const isLast = (holder: Holder) => write.includes("grant") || holder.node?.phase === "drained";
      const send = store.write.bind(store);
      store.write = async (...args) => {
        const written = await send(...args);
        if (written === "conflict" || !written.state.holders.some(isLast)) return written;
        const { state, version } = backend.groups.get(group)!;
        const holders = [{ id: bob, since: state.holders[0]!.since }];
        backend.groups.set(group, { state: { ...state, holders }, version: version! + 1 });
        await clock.advance(ms);
        return written;
      };
      const outcome = kindOf(await locks.preReboot(alice, group));
      // Without a node, the hold is read again after the search, however long that took.
      equal(outcome, write.includes("without a node") ? "contended" : answer);
    });
  }
}

Deno.test("a node that another request notes while the answer to a grant is under way is not passed over", async () => {
  const { backend, clock, keeper, store, locks } = setUp({ keeperless: true });
  keeper.looks = { kind: "clear" };
  const send = store.write.bind(store);
  store.write = async (...args) => {
    const written = await send(...args);
    const { state, version } = backend.groups.get(group)!;
    const holders = state.holders.map((holder) => ({ ...holder, node: noted("draining") }));
    backend.groups.set(group, { state: { ...state, holders }, version: version! + 1 });
    await clock.advance(201);
    return written;
  };
  equal(kindOf(await locks.preReboot(alice, group)), "contended");
});

Deno.test("a hold whose every reading is more than a second under way gives no yes", async () => {
  const { clock, store, locks } = setUp({ keeperless: true });
  const [send, read] = [store.write.bind(store), store.read.bind(store)];
  let readMs = 1_001;
  store.write = async (...args) => {
    const written = await send(...args);
    await clock.advance(300);
    return written;
  };
  store.read = async (...args) => {
    const found = await read(...args);
    await clock.advance(readMs);
    return found;
  };
  equal(kindOf(await locks.preReboot(alice, group)), "contended");
  readMs = 1_000;
  equal(kindOf(await locks.preReboot(alice, group)), "renewed");
});

Deno.test("a Node that the watch shows before the yes of a host without one is drained", async () => {
  const { keeper, locks, held } = setUp();
  keeper.looks = { kind: "clear" };
  keeper.drains = (hold) => {
    if (hold.node !== undefined) return Promise.resolve(drained());
    const isFirst = keeper.drained.length === 1;
    return Promise.resolve(isFirst ? NO_NODE : { kind: "moved", node: worker });
  };
  keeper.shows = (id) => {
    equal(id, alice);
    return true;
  };
  equal((await locks.preReboot(alice, group)).kind, "granted");
  equal(held()?.node?.phase, "drained");
});

/** How long each search takes, how many are made, and the answer. */
for (
  const [ms, searches, answer] of [[1_000, 1, "granted"], [1_001, 2, "granted"], [5_000, 2, "granted"], [
    5_001,
    20,
    "contended",
  ]] as const
) {
  Deno.test(`searches of ${ms} ms for a host without a node are made ${searches} times: ${answer}`, async () => {
    const { clock, keeper, locks } = setUp();
    keeper.looks = { kind: "clear" };
    keeper.drains = async () => {
      const confirmedAt = clock.monotonic();
      await clock.advance(ms);
      return { kind: "drained", host: { kind: "no_node" }, readAt: confirmedAt, confirmedAt };
    };
    equal(kindOf(await locks.preReboot(alice, group)), answer);
    equal(keeper.drained.length, searches);
  });
}

for (const held of [true, false]) {
  Deno.test(`a client that reports for another group than it ${held ? "holds is told of" : "held is not told of"}, and gets its yes`, async () => {
    const told: string[][] = [];
    const observer = { heldElsewhere: (of: Group, id: ClientId, where: Group) => told.push([of, id, where]) };
    const { locks } = setUp({ keeperless: true, observer });
    await locks.preReboot(alice, other);
    await locks.preReboot(bob, group);
    if (!held) await locks.steadyState(alice, other);
    deepEqual(told, []);
    equal((await locks.steadyState(alice, group)).kind, "not_held");
    deepEqual(told, held ? [[group, alice, other]] : []);
  });
}

Deno.test("a hold that a client gets right after the proof that it holds nothing is not taken for one elsewhere", async () => {
  const told: Group[] = [];
  const observer = { heldElsewhere: (_of: Group, _id: ClientId, where: Group) => told.push(where) };
  const { backend, clock, store, locks } = setUp({ keeperless: true, observer });
  const rival = new LockService(new MemoryLockStore(backend), { clock });
  const stop = new AbortController();
  const watching = locks.watch(stop.signal);
  const read = store.read.bind(store);
  store.read = async (...args) => {
    const found = await read(...args);
    await rival.preReboot(alice, group);
    return found;
  };
  equal((await locks.steadyState(alice, group)).kind, "not_held");
  deepEqual(told, []);
  stop.abort();
  await watching;
});

Deno.test("a release does not free a hold that has moved to another Node meanwhile", async () => {
  const { backend, keeper, store, locks, held } = setUp();
  await put(backend, { node: noted("drained") });
  keeper.returns = async () => {
    const found = await store.read(group);
    await store.write(group, found, { ...found.state, holders: [{ ...held()!, node: noted("drained", second) }] });
    return { kind: "ready" };
  };
  equal(kindOf(await locks.steadyState(alice, group)), "contended");
  deepEqual(held()?.node, noted("drained", second));
});
