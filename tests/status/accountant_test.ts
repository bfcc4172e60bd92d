import { deepEqual, equal } from "node:assert/strict";
import { type ClientId, type Group, parseGroup } from "../../src/lock/identity.ts";
import type { GrantPolicy, Reason } from "../../src/lock/policy.ts";
import type { GroupState, Holder } from "../../src/lock/semaphore.ts";
import { DEFAULT_STUCK } from "../../src/policies/options.ts";
import { clientAccount, clientHash } from "../../src/status/account_text.ts";
import { Accountant, type AccountSources } from "../../src/status/accountant.ts";
import { StatusMemory } from "../../src/status/memory.ts";
import { type HeldNodeFacts, thresholdsOf } from "../../src/status/stage.ts";

const NOW = Date.parse("2026-11-26T12:00:00Z");
const MINUTE = 60_000;
const WORKERS: Group = parseGroup("workers")!;
const id = (text: string) => text as ClientId;
const at = (ms: number) => new Date(ms).toISOString();
const WHOLE_ID = "978a225b3d7b40e9acd7ce9b62f68444";

/** The hash of that client. */
const GOLDEN = "b29857ae4351";
/** The client of that id, as it is shown. */
const SHOWN = { id: "978a225b…", hash: GOLDEN };

/** The sources of an accountant, with some that differ. */
function sources(states: Record<string, GroupState>, more: Partial<AccountSources> = {}): AccountSources {
  const groups = new Map(Object.entries(states).map(([name, state]) => [parseGroup(name)!, { state, version: 1 }]));
  return {
    replica: { replica: "fleetlock-0", program: "1.2.3", store: "memory", started: at(NOW - 1) },
    now: () => NOW,
    monotonic: () => (more.now?.() ?? NOW) - NOW + 1_000,
    seenForMs: () => 0,
    groups: () => groups as unknown as ReturnType<AccountSources["groups"]>,
    named: () => [],
    isInStep: () => true,
    policy: policy(1, []),
    memory: new StatusMemory(),
    unasked: () => [],
    thresholds: () => thresholdsOf(DEFAULT_STUCK, 15 * MINUTE),
    ...more,
  };
}

function policy(slots: number, reasons: Reason[], opens?: number): GrantPolicy & { nextOpening(): number | undefined } {
  const answer = { slots, reasons, ignored: [] };
  return {
    slotsOf: () => slots,
    drainOf: () => ({}),
    goneAfter: () => undefined,
    peek: () => answer,
    judge: () => Promise.resolve(answer),
    nextOpening: () => opens,
  };
}

const holder: Holder = {
  id: id(WHOLE_ID),
  since: NOW - 3 * MINUTE,
  node: { name: "node-a", uid: "u", bootId: "b1", phase: "drained" },
};

Deno.test("a client is shown by at most half of its id, and by a hash that is shorter where the id can be guessed", () => {
  const ids = [WHOLE_ID, "backup-job", "abc", "a"].map((one) => clientAccount("workers", one));
  deepEqual(ids.map(({ id }) => id), ["978a225b…", "backu…", "a…", "…"]);
  deepEqual(ids.map(({ hash }) => hash.length), [12, 3, 3, 3]);
  // Two replicas of any version show the same client by the same hash.
  equal(ids[0]!.hash, GOLDEN);
  equal(clientHash("workers", "978A225B-3D7B-40E9-ACD7-CE9B62F68444"), GOLDEN);
  deepEqual(
    [clientHash("others", WHOLE_ID) === GOLDEN, clientHash("workers", `${WHOLE_ID.slice(0, -1)}5`) === GOLDEN],
    [
      false,
      false,
    ],
  );
});

Deno.test("an account names groups in order, and shows nothing of a group of which nothing is known", () => {
  const account = new Accountant(sources({ b: { holders: [], transitions: 7 }, a: { holders: [], transitions: 0 } }))
    .account();
  deepEqual(account, {
    version: 1,
    replica: "fleetlock-0",
    program: "1.2.3",
    store: "memory",
    started: at(NOW - 1),
    at: at(NOW),
    isInStep: true,
    groups: [["a", 0], ["b", 7]].map(([name, transitions]) => ({
      name,
      slots: 1,
      transitions,
      holders: [],
      blocks: [],
      unasked: [],
      deferred: [],
      waiting: [],
      waitingMore: 0,
      turns: [],
    })),
  });
});

Deno.test("an account has groups of which no slot was ever granted: those that the file names or that clients wait for", () => {
  const memory = new StatusMemory();
  const group = (name: string) => parseGroup(name)!;
  const refuse = (name: string) =>
    memory.refused(group(name), id("waits"), { kind: "lock_held", holders: [], slots: 1 }, NOW);
  const reason: Reason = { kind: "frozen", rule: "freeze", sentence: "it is frozen" };
  const make = (isInStep: boolean) =>
    new Accountant(
      sources({ b: { holders: [holder], transitions: 7 } }, {
        memory,
        policy: policy(1, [reason]),
        named: () => ["c", "b"].map(group),
        isInStep: () => isInStep,
      }),
    ).account().groups.map(({ name, transitions, blocks, waiting }) => [
      name,
      transitions,
      blocks.at(-1)?.kind,
      waiting.length,
    ]);
  for (const name of ["a", "b", "c"]) refuse(name);
  deepEqual(make(true), [["a", 0, "frozen", 1], ["b", 7, "frozen", 1], ["c", 0, "frozen", 1]]);
  // A watch that is behind may not show a hold that the store has.
  deepEqual(make(false), [["b", 7, "frozen", 1]]);
  for (let n = 0; n < 1_000; n++) refuse(`any-${n}`);
  equal(make(true).length, 66);
});

Deno.test("a full group is blocked by its holders, beside what its policies say", () => {
  const until = NOW + 10 * MINUTE;
  const reason: Reason = { kind: "frozen", rule: "freeze", sentence: "it is frozen", until };
  const account = new Accountant(
    sources({ workers: { holders: [holder], transitions: 1 } }, { policy: policy(1, [reason], until) }),
  ).account();
  deepEqual(account.groups[0]!.blocks, [
    {
      kind: "lock_held",
      sentence: 'reboot slot of group "workers" is held by node "node-a" since 2026-11-26T11:57:00Z (3 min)',
    },
    { kind: "frozen", rule: "freeze", sentence: "it is frozen", until: at(until) },
  ]);
  equal(account.groups[0]!.nextOpening, at(until));
});

Deno.test("a hold is shown with its stage, the pods that its drain waits for, and its client's last poll", () => {
  const memory = new StatusMemory();
  memory.refused(WORKERS, holder.id, { kind: "contended" }, NOW - 20_000);
  let facts: HeldNodeFacts = { kind: "seen", isReady: true, bootId: "b1" };
  let now = NOW;
  const all = sources({ workers: { holders: [holder], transitions: 1 } }, {
    memory,
    now: () => now,
    releaseOf: (group, { id }) => {
      deepEqual([group, id], ["workers", WHOLE_ID]);
      return { at: NOW + 60 * MINUTE, waitsFor: "a pod\u001b" };
    },
    nodes: {
      isSynced: true,
      factsOf: ({ name }) => (equal(name, "node-a"), facts),
      nameOf: () => "node-a",
      drainOf: (group, { id }) => {
        deepEqual([group, id], ["workers", WHOLE_ID]);
        return { pods: [{ namespace: "web", name: "x\u001b", reason: "its budget" }], blocked: 1 };
      },
    },
  });
  const accountant = new Accountant(all);
  const shown = () => accountant.account().groups[0]!.holders[0]!;
  deepEqual(shown(), {
    ...SHOWN,
    node: "node-a",
    since: at(NOW - 3 * MINUTE),
    stage: "granted-not-rebooting",
    stageSince: at(NOW),
    isStuck: false,
    pods: [{ pod: "web/x\ufffd", reason: "its budget" }],
    lastPoll: at(NOW - 20_000),
  });
  now += 20 * MINUTE - 1;
  equal(shown().isStuck, false);
  now += 1;
  equal(shown().isStuck, true);
  equal(shown().stageSince, at(NOW));
  facts = { kind: "gone" };
  deepEqual([shown().stage, shown().stageSince, shown().isStuck], ["node-gone", at(now), false]);
  deepEqual(shown().release, { at: at(NOW + 60 * MINUTE), waitsFor: "a pod\ufffd" });
});

Deno.test("a drain has lasted since the grant, also where this replica has just started", () => {
  const draining: Holder = { ...holder, since: NOW - 20 * MINUTE, node: { ...holder.node!, phase: "draining" } };
  const shown = new Accountant(sources({ workers: { holders: [draining], transitions: 1 } })).account().groups[0]!;
  deepEqual([shown.holders[0]!.stage, shown.holders[0]!.isStuck], ["draining", true]);
  equal(shown.holders[0]!.pods, undefined);
});

Deno.test("whether a hold is stuck does not depend on a clock that is wrong, or that somebody sets", () => {
  let monotonic = 5_000;
  let now = NOW;
  let seenForMs = 0;
  const ahead: Holder = { ...holder, since: NOW + 24 * 60 * MINUTE };
  const draining: Holder = { ...ahead, node: { ...ahead.node!, phase: "draining" } };
  const stuck = (one: Holder) => {
    const facts = { kind: "seen", isReady: true, bootId: "b1" } as const;
    const nodes = { isSynced: true, factsOf: () => facts, nameOf: () => undefined, drainOf: () => undefined };
    const of = (_: Group, { since }: Holder) => (equal(since, one.since), seenForMs);
    const all = sources({ workers: { holders: [one], transitions: 1 } }, {
      now: () => now,
      monotonic: () => monotonic,
      seenForMs: of,
      memory,
      nodes,
    });
    return new Accountant(all).account().groups[0]!.holders[0]!.isStuck;
  };
  const memory = new StatusMemory();
  deepEqual([stuck(draining), stuck(ahead)], [false, false]);
  seenForMs = 20 * MINUTE;
  equal(stuck(draining), true);
  now -= 24 * 60 * MINUTE;
  equal(stuck(ahead), false);
  monotonic += 20 * MINUTE;
  equal(stuck(ahead), true);
});

Deno.test("what the nodes show counts only while their watch is in step", () => {
  const nodes = {
    isSynced: false,
    factsOf: () => ({ kind: "gone" as const }),
    nameOf: () => undefined,
    drainOf: () => undefined,
  };
  const account = new Accountant(sources({ workers: { holders: [holder], transitions: 1 } }, { nodes })).account();
  deepEqual([account.areNodesInStep, account.groups[0]!.holders[0]!.stage], [false, "unknown"]);
});

Deno.test("waiting clients, turns, pauses and deferrals are shown, and no whole id and no control character", () => {
  const memory = new StatusMemory();
  for (let nth = 0; nth < 60; nth++) {
    memory.refused(WORKERS, id(`${WHOLE_ID}${nth}`), { kind: "lock_held", holders: [holder], slots: 1 }, NOW - nth);
  }
  const before = { holders: [holder], transitions: 1 };
  memory.changed(WORKERS, before, { holders: [], transitions: 1 }, NOW - 5);
  const notes = {
    pause: { reason: "x\u202e", by: "ann\n", until: NOW + 1 },
    deferred: [{ id: id(WHOLE_ID), node: "n\u0007", until: NOW + 2, count: 1, pods: ["web/x: \u001b[2J"] }],
  };
  const account = new Accountant(sources({ workers: { ...before, notes } }, { memory })).account();
  const { waiting, waitingMore, turns, pause, deferred } = account.groups[0]!;
  deepEqual([waiting.length, waitingMore], [50, 10]);
  deepEqual(waiting[0], {
    ...clientAccount("workers", `${WHOLE_ID}59`),
    at: at(NOW - 59),
    since: at(NOW - 59),
    kind: "lock_held",
    sentence: 'reboot slot of group "workers" is held by node "node-a" since 2026-11-26T11:57:00Z (2 min)',
  });
  deepEqual(turns, [{ ...SHOWN, node: "node-a", granted: at(holder.since), released: at(NOW - 5) }]);
  deepEqual(pause, { reason: "x\ufffd", by: "ann\ufffd", until: at(NOW + 1) });
  deepEqual(deferred, [{ ...SHOWN, node: "n\ufffd", until: at(NOW + 2), pods: ["web/x: \ufffd[2J"] }]);
  equal(JSON.stringify(account).includes(WHOLE_ID), false);
});

Deno.test("times outside the range of dates do not break the account", () => {
  const odd = [NaN, Infinity, -Infinity, 1e300].map((since, nth) => ({ ...holder, id: id(`h${nth}`), since }));
  const { holders } = new Accountant(sources({ workers: { holders: odd, transitions: 1 } })).account().groups[0]!;
  equal(holders.length, 4);
});

Deno.test("the clients that wait are counted by group, without the holders", () => {
  const memory = new StatusMemory();
  const others = parseGroup("others")!;
  memory.refused(WORKERS, id(WHOLE_ID), { kind: "contended" }, NOW);
  memory.refused(WORKERS, id("b"), { kind: "contended" }, NOW);
  memory.refused(WORKERS, id("late"), { kind: "contended" }, NOW - 13 * MINUTE);
  memory.refused(others, id("b"), { kind: "contended" }, NOW);
  memory.refused(others, id("c"), { kind: "contended" }, NOW);
  memory.served(others, id("d"), NOW);
  const accountant = new Accountant(sources({ workers: { holders: [holder], transitions: 1 } }, { memory }));
  deepEqual([...accountant.waiting([WORKERS])], [[WORKERS, 1], [others, 2]]);
  const free = parseGroup("free")!;
  deepEqual(
    [...accountant.waiting([free, others])],
    [[free, 0], [others, 2]],
    "the caller's groups are those of the store",
  );
});

Deno.test("groups without a lock count who waits for them only as far as the account lists them", () => {
  const memory = new StatusMemory();
  const named = parseGroup("named")!;
  for (let n = 0; n < 1_000; n++) memory.refused(parseGroup(`any-${n}`)!, id("a"), { kind: "contended" }, NOW);
  memory.refused(named, id("a"), { kind: "contended" }, NOW);
  const waiting = (isInStep: boolean) =>
    new Accountant(sources({}, { memory, named: () => [named], isInStep: () => isInStep })).waiting([WORKERS]);
  equal(waiting(true).size, 66);
  equal(waiting(true).get(named), 1);
  deepEqual([...waiting(false)], [[WORKERS, 0]], "a watch that is behind may not show a lock that the store has");
});

Deno.test("the rules that let grants go on without their monitor are in the account of their group", () => {
  const passedOver = [{ rule: "health.prometheus", reason: "it cannot be reached" }];
  const speaking = { ...policy(1, []), passedOver: () => passedOver };
  const of = (policy: AccountSources["policy"]) =>
    new Accountant(sources({ workers: { holders: [], transitions: 1 } }, { policy })).account().groups[0]!;
  deepEqual(of(speaking).passedOver, passedOver);
  equal("passedOver" in of(policy(1, [])), false);
});
