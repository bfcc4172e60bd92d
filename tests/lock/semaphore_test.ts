/** Compares the semaphore with a model that is only a map. @module */

import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { type ClientId, parseClientId } from "../../src/lock/identity.ts";
import {
  acquire,
  amend,
  FREE,
  type GroupState,
  type HeldNode,
  type Holder,
  holderOf,
  isSameStage,
  MAX_TRANSITIONS,
  mayGoOn,
  mayHaveHadYes,
  release,
  withYes,
} from "../../src/lock/semaphore.ts";

const CLIENTS = Array.from({ length: 12 }, (_, i) => parseClientId(`host-${i}`) as ClientId);

const NODE: HeldNode = { name: "n", uid: "u", phase: "draining" };

type Step = { readonly wish: "acquire" | "release"; readonly id: ClientId; readonly now: number };

/**
 * Replicas' clocks disagree, so time may go backwards or stand still. A clock that is derived from another has
 * fractions.
 */
const time = fc.oneof(fc.nat(20), fc.nat(), fc.nat(200).map((tenths) => tenths / 10));
const step: fc.Arbitrary<Step> = fc.record({
  wish: fc.constantFrom("acquire", "acquire", "release"),
  id: fc.constantFrom(...CLIENTS),
  now: time,
});

for (const slots of [1, 2, 3, 10]) {
  test(`with ${slots} slots, any sequence of calls ends as in the model`, () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const model = new Map<ClientId, { since: number; renewed: number; slots: number }>();
      let state = freeze(FREE);
      let grants = 0;
      let last = -1;
      for (const { wish, id, now } of steps) {
        const before = structuredClone(state);
        const next = take(state, wish, id, slots, now);
        deepEqual(state, before, "the state given was changed");
        const held = model.has(id);
        if (wish === "release") {
          equal(next.kind, held ? "free" : "not_held");
          model.delete(id);
        } else if (held) {
          equal(next.kind, "renew");
          model.get(id)!.renewed = Math.max(Math.floor(now), last + 1);
        } else if (model.size < slots) {
          equal(next.kind, "grant");
          grants++;
          const since = Math.max(Math.floor(now), last + 1);
          model.set(id, { since, renewed: since, slots });
        } else {
          equal(next.kind, "full");
        }
        if (!("next" in next)) continue;
        last = Math.max(Math.floor(now), last + 1);
        state = freeze(next.next);
        deepEqual(state.holders, [...model].map(([id, times]) => ({ id, ...times })), "oldest grant first");
        ok(state.holders.length <= slots);
        equal(new Set(state.holders.map((holder) => holder.id)).size, state.holders.length);
        equal(state.transitions, grants);
        equal(state.renewed, last);
      }
      for (const id of CLIENTS) equal(holderOf(state, id)?.since, model.get(id)?.since);
    }));
  });

  test(`with ${slots} slots, exactly that many clients of a crowd are granted one`, () => {
    let state = freeze(FREE);
    const kinds = CLIENTS.map((id, now) => {
      const wish = acquire(state, id, slots, now);
      if (wish.kind !== "full") state = freeze(wish.next);
      return wish.kind;
    });
    deepEqual(kinds, CLIENTS.map((_, i) => i < slots ? "grant" : "full"));
  });
}

test("when the number of slots changes, holders keep theirs and no grant exceeds the number", () => {
  const changing = fc.array(fc.tuple(step, fc.integer({ min: 1, max: 10 })), { maxLength: 80 });
  fc.assert(fc.property(changing, (steps) => {
    let state = freeze(FREE);
    for (const [{ wish, id, now }, slots] of steps) {
      const holders = state.holders;
      const outcome = take(state, wish, id, slots, now);
      if (outcome.kind === "grant") ok(holders.length < slots);
      if (outcome.kind === "full") ok(holders.length >= slots && !mayGoOn(state, id, slots));
      // A grant leaves no more holders than it notes, so that nobody who was granted a slot ever waits again.
      if (holderOf(state, id) !== undefined) ok(wish === "release" || outcome.kind === "renew", "a holder waits");
      if (!("next" in outcome)) continue;
      state = freeze(outcome.next);
      const stayed = state.holders.filter((holder) => holder.id !== id);
      deepEqual(stayed, holders.filter((holder) => holder.id !== id), "another client's slot changed");
    }
  }));
});

test("when there are fewer slots than holders, all keep theirs and renew, and nobody is granted one", () => {
  let state = freeze(FREE);
  for (const [i, id] of CLIENTS.slice(0, 3).entries()) {
    const wish = acquire(state, id, 3, 100 + i);
    equal(wish.kind, "grant");
    if (wish.kind === "grant") state = freeze(wish.next);
  }
  const [oldest, ...others] = state.holders;
  deepEqual(acquire(state, oldest!.id, 1, 500), {
    kind: "renew",
    next: { ...state, holders: [{ ...oldest, renewed: 500 }, ...others], renewed: 500 },
  });
  for (const id of CLIENTS.slice(1, 3)) equal(acquire(state, id, 1, 500).kind, "renew");
  deepEqual(acquire(state, CLIENTS[3]!, 1, 500), { kind: "full" });
  const freed = release(state, CLIENTS[1]!, 600);
  equal(freed.kind, "free");
  if (freed.kind === "free") deepEqual(acquire(freed.next, CLIENTS[3]!, 1, 700), { kind: "full" });
});

test("of more holders than slots, those go on that had their yes and as many others as there are slots left", () => {
  const phase = fc.constantFrom(undefined, "draining", "failed", "drained");
  fc.assert(fc.property(fc.array(phase, { maxLength: 8 }), fc.integer({ min: 1, max: 4 }), (phases, slots) => {
    const holders = phases.map((phase, i) => ({
      id: CLIENTS[i]!,
      since: i,
      ...(phase && { node: { ...NODE, phase } }),
    }));
    const state = freeze({ holders, transitions: holders.length });
    const kinds = holders.map(({ id }) => acquire(state, id, slots, 100).kind);
    const drained = phases.filter((phase) => phase === "drained").length;
    phases.forEach((phase, i) => phase === "drained" && equal(kinds[i], "renew"));
    const others = kinds.filter((_, i) => phases[i] !== "drained");
    const left = Math.max(0, slots - drained);
    deepEqual(
      others,
      others.map((_, i) => i < left ? "renew" : "full"),
      "the first ones, and at least one unless all slots are drained",
    );
  }));
});

test("a holder that was written by hand waits for its place among the slots of now", () => {
  const [first, second, hand] = CLIENTS as [ClientId, ClientId, ClientId];
  const granted = [{ id: first, since: 1, slots: 2 }, { id: second, since: 2, slots: 2 }];
  const state = freeze({ holders: [...granted, { id: hand, since: 3 }], transitions: 2 });
  deepEqual([first, second, hand].map((id) => mayGoOn(state, id, 1)), [true, true, false]);
  deepEqual([first, second, hand].map((id) => mayGoOn(state, id, 2)), [true, true, false]);
  deepEqual([first, second, hand].map((id) => mayGoOn(state, id, 3)), [true, true, true]);
});

test("a holder that others put behind one that may have had its yes waits, whatever its grant notes", () => {
  const [first, hand] = CLIENTS as [ClientId, ClientId];
  for (const told of [{ node: { ...NODE, phase: "drained" as const } }, { node: NODE, hadYes: true as const }]) {
    const state = freeze({
      holders: [{ id: first, since: 1, slots: 1 }, { id: hand, since: 3, ...told }],
      transitions: 1,
    });
    deepEqual([mayGoOn(state, first, 1), mayGoOn(state, hand, 1)], [false, true]);
  }
});

test("a hold may have had its yes once it is drained or without a node, on whatever node it goes on", () => {
  const id = CLIENTS[0]!;
  const after = (holder: Partial<Holder>, node: HeldNode) => {
    return mayHaveHadYes(
      amend({ holders: [{ id, since: 1, ...holder }], transitions: 1 }, { id, since: 1 }, 7, node)!.holders[0]!,
    );
  };
  const [drained, moved]: HeldNode[] = [{ ...NODE, phase: "drained" }, { ...NODE, uid: "v" }];
  equal(after({ node: NODE }, { ...NODE, phase: "failed" }), false);
  equal(after({ node: NODE }, moved!), false);
  equal(after({ node: NODE }, drained!), true);
  equal(after({ node: drained! }, moved!), true);
  equal(after({}, moved!), true);
  equal(after({ isNodeUnreadable: true }, moved!), true);
  equal(after({ node: NODE, hadYes: true }, moved!), true);
});

test("a hold may have had its yes by each of the signs alone, and without any of them had none", () => {
  const hold: Holder = { id: CLIENTS[0]!, since: 1, node: NODE };
  equal(mayHaveHadYes(hold), false);
  equal(mayHaveHadYes({ ...hold, node: { ...NODE, phase: "failed" } }), false);
  const signs: Partial<Holder>[] = [
    { node: undefined },
    { node: { ...NODE, phase: "drained" } },
    { hadYes: true },
    { isNodeUnreadable: true },
  ];
  for (const sign of signs) equal(mayHaveHadYes({ ...hold, ...sign }), true, JSON.stringify(sign));
});

test("a note about the same Node leaves it to the phase whether there was a yes", () => {
  const id = CLIENTS[0]!;
  for (const phase of ["draining", "failed", "drained"] as const) {
    const state = freeze({ holders: [{ id, since: 1, node: { ...NODE, phase } }], transitions: 1 });
    equal(amend(state, { id, since: 1 }, 7, { ...NODE, phase: "draining" })?.holders[0]?.hadYes, undefined);
  }
});

test("a yes is noted with the very hold that got it, and with no other", () => {
  const [first, second, none] = CLIENTS as [ClientId, ClientId, ClientId];
  const state = freeze({ holders: [{ id: first, since: 1 }, { id: second, since: 2, node: NODE }], transitions: 2 });
  deepEqual(withYes(state, { id: second, since: 2 }, 7), {
    holders: [{ id: first, since: 1 }, { id: second, since: 2, node: NODE, renewed: 7, hadYes: true }],
    transitions: 2,
    renewed: 7,
  });
  equal(withYes(state, { id: second, since: 1 }, 7), undefined, "another grant to the same client");
  equal(withYes(state, { id: none, since: 1 }, 7), undefined);
});

test("two records are of the same stage of a hold unless one of the signs of a later stage differs", () => {
  const hold: Holder = { id: CLIENTS[0]!, since: 1, renewed: 3, slots: 2, node: { ...NODE, machineId: "m" } };
  const same: Partial<Holder>[] = [{}, { slots: 1 }, { extra: { x: 1 } }, { node: { ...NODE, bootId: "b" } }];
  const other: Partial<Holder>[] = [
    { since: 2 },
    { renewed: 4 },
    { renewed: undefined },
    { node: undefined },
    { node: { ...NODE, uid: "v" } },
    { node: { ...NODE, phase: "failed" } },
  ];
  for (const [isSame, changes] of [[true, same], [false, other]] as const) {
    for (const change of changes) {
      equal(isSameStage(hold, { ...hold, ...change }), isSame, JSON.stringify(change));
      equal(isSameStage({ ...hold, ...change }, hold), isSame, JSON.stringify(change));
    }
  }
  ok(isSameStage({ id: CLIENTS[0]!, since: 1 }, { id: CLIENTS[0]!, since: 1 }), "without a node");
});

test("a clock that shows a time before 1970 notes one that can be read again", () => {
  for (const state of [FREE, { ...FREE, renewed: NaN }, { ...FREE, renewed: -9 }]) {
    const granted = acquire(freeze(state), CLIENTS[0]!, 1, -5);
    equal(granted.kind === "grant" && granted.next.renewed, 0);
  }
});

test("in whatever order holders go on, no more than the slots come to be drained", () => {
  const holders = fc.uniqueArray(fc.constantFrom(...CLIENTS), { maxLength: 6 });
  fc.assert(
    fc.property(holders, fc.array(fc.constantFrom(...CLIENTS)), fc.integer({ min: 1, max: 3 }), (ids, asks, slots) => {
      let state: GroupState = freeze({ holders: ids.map((id, since) => ({ id, since })), transitions: 0 });
      for (const id of asks) {
        const since = holderOf(state, id)?.since;
        if (since === undefined || acquire(state, id, slots, 100).kind !== "renew") continue;
        state = amend(state, { id, since }, 100, { ...NODE, phase: "drained" })!;
        ok(state.holders.filter(({ node }) => node?.phase === "drained").length <= slots);
      }
    }),
  );
});

test("a note keeps the machine id of the same Node where it is given none", () => {
  const id = CLIENTS[0]!;
  const state = freeze({ holders: [{ id, since: 1, node: { ...NODE, machineId: "m" } }], transitions: 1 });
  const machineOf = (node: HeldNode) => amend(state, { id, since: 1 }, 7, node)?.holders[0]?.node?.machineId;
  equal(machineOf(NODE), "m");
  equal(machineOf({ ...NODE, machineId: "k" }), "k");
  equal(machineOf({ ...NODE, uid: "v" }), undefined);
});

test("a grant notes the client's node, and a renewal keeps what was noted", () => {
  const [client, other] = CLIENTS as [ClientId, ClientId];
  const node: HeldNode = { name: "n1", uid: "u1", bootId: "boot", phase: "drained" };
  const granted = acquire(freeze(FREE), client, 2, 5, node);
  equal(granted.kind, "grant");
  if (granted.kind !== "grant") return;
  deepEqual(granted.next.holders, [{ id: client, since: 5, node, renewed: 5, slots: 2 }]);
  const state = freeze(granted.next);
  deepEqual(acquire(state, client, 2, 9, { name: "n2", uid: "u2", phase: "draining" }), {
    kind: "renew",
    next: { ...state, holders: [{ id: client, since: 5, node, renewed: 9, slots: 2 }], renewed: 9 },
  });
  const second = acquire(state, other, 2, 9);
  deepEqual(second.kind === "grant" && second.next.holders, [...state.holders, {
    id: other,
    since: 9,
    renewed: 9,
    slots: 2,
  }]);
});

test("amending changes the node of one holder and nothing else", () => {
  const [first, second, none] = CLIENTS as [ClientId, ClientId, ClientId];
  const holders = [{ id: first, since: 1 }, { id: second, since: 2 }];
  const state = freeze({ holders, transitions: 2, renewed: 2 });
  const node: HeldNode = { name: "n2", uid: "u2", phase: "failed" };
  deepEqual(amend(state, { id: second, since: 2 }, 7, node), {
    holders: [{ id: first, since: 1 }, { id: second, since: 2, node, renewed: 7, hadYes: true }],
    transitions: 2,
    renewed: 7,
  });
  equal(amend(state, { id: none, since: 1 }, 7, node), undefined);
  // Another grant to the same client.
  equal(amend(state, { id: second, since: 1 }, 7, node), undefined);
});

test("since and the time of the last write grow strictly, whatever the record held", () => {
  const anyTime = fc.oneof(time, fc.double(), fc.constantFrom(NaN, Infinity, -1, 8.64e15, Date.UTC(9999, 0)));
  const found = fc.record({
    holders: fc.uniqueArray(fc.record({ id: fc.constantFrom(...CLIENTS), since: anyTime }), {
      selector: ({ id }) => id,
      maxLength: 4,
    }),
    transitions: fc.nat(9),
    renewed: fc.option(anyTime, { nil: undefined }),
  });
  const countable = (ms: number | undefined) => ms !== undefined && ms >= 0 && ms < Date.UTC(9999, 0);
  fc.assert(fc.property(found, fc.array(step, { minLength: 1, maxLength: 20 }), (found, steps) => {
    let state: GroupState = found;
    const times = [found.renewed, ...found.holders.map(({ since }) => since)].filter(countable) as number[];
    for (const { wish, id, now } of steps) {
      const before = state;
      const outcome = take(state, wish, id, 6, now);
      const amended = amend(state, { id, since: holderOf(state, id)?.since ?? 0 }, now, NODE);
      for (const next of ["next" in outcome ? outcome.next : undefined, amended]) {
        if (next === undefined) continue;
        ok(Number.isSafeInteger(next.renewed) && new Date(next.renewed!).getUTCFullYear() <= 9999, "it can be written");
        for (const earlier of times) ok(next.renewed! > earlier, `${next.renewed} after ${earlier}`);
      }
      if (!("next" in outcome)) continue;
      state = outcome.next;
      if (outcome.kind === "grant") {
        const { since } = holderOf(state, id)!;
        ok(Number.isSafeInteger(since));
        for (const earlier of times) ok(since > earlier, `${since} after ${earlier}`);
        ok(holderOf(before, id) === undefined);
        times.push(since);
      }
      times.push(state.renewed!);
    }
  }));
});

test("two holds of a client have different times though the clock stands still, also after a release", () => {
  const [client] = CLIENTS as [ClientId];
  let state: GroupState = FREE;
  const times = [];
  for (let n = 0; n < 3; n++) {
    const granted = acquire(state, client, 1, 100);
    if (granted.kind !== "grant") throw new Error(granted.kind);
    times.push(holderOf(granted.next, client)?.since);
    const freed = release(granted.next, client, 100);
    if (freed.kind !== "free") throw new Error(freed.kind);
    state = freed.next;
  }
  deepEqual(times, [100, 102, 104]);
});

test("the number of grants stops at the largest value that a Lease can store", () => {
  for (const [transitions, next] of [[MAX_TRANSITIONS - 1, MAX_TRANSITIONS], [MAX_TRANSITIONS, MAX_TRANSITIONS]]) {
    const granted = acquire({ holders: [], transitions: transitions! }, CLIENTS[0]!, 1, 5);
    equal(granted.kind === "grant" && granted.next.transitions, next);
  }
  equal(MAX_TRANSITIONS, 2_147_483_647);
});

test("every write keeps the fields that it does not know", () => {
  const [first, second, third] = CLIENTS as [ClientId, ClientId, ClientId];
  const known: Holder = { id: first, since: 1, isNodeUnreadable: true, extra: { node: 7 } };
  const state: GroupState = {
    holders: [known, { id: second, since: 2, extra: { x: [1] } }],
    transitions: 2,
  };
  const granted = acquire(state, third, 3, 9);
  const renewed = acquire(state, second, 3, 9);
  const freed = release(state, second, 9);
  const amended = amend(state, { id: second, since: 2 }, 9, NODE);
  for (const next of [granted, renewed, freed].map((one) => "next" in one ? one.next : undefined).concat(amended)) {
    deepEqual(next?.holders[0], known);
  }
  deepEqual(amended?.holders[1], { id: second, since: 2, node: NODE, renewed: 9, hadYes: true, extra: { x: [1] } });
  deepEqual(amend(state, { id: first, since: 1 }, 9, NODE)?.holders[0], {
    id: first,
    since: 1,
    node: NODE,
    renewed: 9,
    hadYes: true,
    extra: { node: 7 },
  }, "a node that is noted replaces one that cannot be read");
});

test("ids that differ in one character are different", () => {
  const [lower, upper, longer] = ["host-a", "host-A", "host-a1"].map((raw) => parseClientId(raw) as ClientId);
  const state = freeze({ holders: [{ id: lower!, since: 1 }], transitions: 1 });
  for (const other of [upper!, longer!]) {
    equal(holderOf(state, other), undefined);
    deepEqual(release(state, other, 2), { kind: "not_held" });
    deepEqual(acquire(state, other, 1, 2), { kind: "full" });
  }
});

function take(
  state: GroupState,
  wish: Step["wish"],
  id: ClientId,
  slots: number,
  now: number,
): ReturnType<typeof acquire> | ReturnType<typeof release> {
  return wish === "acquire" ? acquire(state, id, slots, now) : release(state, id, now);
}

/** Makes a change in place throw. */
function freeze(state: GroupState): GroupState {
  for (const holder of state.holders) Object.freeze(holder);
  Object.freeze(state.holders);
  return Object.freeze(state);
}

function test(name: string, fn: () => void): void {
  Deno.test(`semaphore: ${name}`, fn);
}
