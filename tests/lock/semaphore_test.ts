/** The semaphore, held against a model of it that is nothing but a map. @module */

import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { type ClientId, parseClientId } from "../../src/lock/identity.ts";
import { acquire, amend, FREE, type GroupState, type HeldNode, holderOf, release } from "../../src/lock/semaphore.ts";

const CLIENTS = Array.from({ length: 12 }, (_, i) => parseClientId(`host-${i}`) as ClientId);

type Step = { readonly wish: "acquire" | "release"; readonly id: ClientId; readonly now: number };

/** Replicas' clocks disagree, so time may go backwards. */
const step: fc.Arbitrary<Step> = fc.record({
  wish: fc.constantFrom("acquire", "acquire", "release"),
  id: fc.constantFrom(...CLIENTS),
  now: fc.nat(),
});

for (const slots of [1, 2, 3, 10]) {
  test(`with ${slots} slots, any sequence of wishes ends as in the model`, () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const model = new Map<ClientId, number>();
      let state = freeze(FREE);
      let grants = 0;
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
        } else if (model.size < slots) {
          equal(next.kind, "grant");
          model.set(id, now);
          grants++;
        } else {
          equal(next.kind, "full");
        }
        if (!("next" in next)) continue;
        state = freeze(next.next);
        deepEqual(state.holders, [...model].map(([id, since]) => ({ id, since })), "oldest grant first");
        ok(state.holders.length <= slots);
        equal(new Set(state.holders.map((holder) => holder.id)).size, state.holders.length);
        equal(state.transitions, grants);
        equal(state.renewed, now);
      }
      for (const id of CLIENTS) equal(holderOf(state, id)?.since, model.get(id));
    }));
  });

  test(`with ${slots} slots, exactly as many of a crowd are granted`, () => {
    let state = freeze(FREE);
    const kinds = CLIENTS.map((id, now) => {
      const wish = acquire(state, id, slots, now);
      if (wish.kind !== "full") state = freeze(wish.next);
      return wish.kind;
    });
    deepEqual(kinds, CLIENTS.map((_, i) => i < slots ? "grant" : "full"));
  });
}

test("slots may change at any time: none is torn from a holder, and none given out beyond them", () => {
  const changing = fc.array(fc.tuple(step, fc.integer({ min: 1, max: 10 })), { maxLength: 80 });
  fc.assert(fc.property(changing, (steps) => {
    let state = freeze(FREE);
    for (const [{ wish, id, now }, slots] of steps) {
      const holders = state.holders;
      const outcome = take(state, wish, id, slots, now);
      if (outcome.kind === "grant") ok(holders.length < slots);
      if (outcome.kind === "full") ok(holders.length >= slots && holderOf(state, id) === undefined);
      if (!("next" in outcome)) continue;
      state = freeze(outcome.next);
      const stayed = state.holders.filter((holder) => holder.id !== id);
      deepEqual(stayed, holders.filter((holder) => holder.id !== id), "another's slot was touched");
    }
  }));
});

test("a holder renews although slots have become fewer than holders", () => {
  let state = freeze(FREE);
  for (const [i, id] of CLIENTS.slice(0, 3).entries()) {
    const wish = acquire(state, id, 3, 100 + i);
    equal(wish.kind, "grant");
    if (wish.kind === "grant") state = freeze(wish.next);
  }
  for (const id of CLIENTS.slice(0, 3)) {
    const wish = acquire(state, id, 1, 500);
    deepEqual(wish, { kind: "renew", next: { ...state, renewed: 500 } });
  }
  deepEqual(acquire(state, CLIENTS[3]!, 1, 500), { kind: "full" });
  const freed = release(state, CLIENTS[1]!, 600);
  equal(freed.kind, "free");
  if (freed.kind === "free") deepEqual(acquire(freed.next, CLIENTS[3]!, 1, 700), { kind: "full" });
});

test("a grant notes the client's node, and a renewal keeps what was noted", () => {
  const [client, other] = CLIENTS as [ClientId, ClientId];
  const node: HeldNode = { name: "n1", bootId: "boot", phase: "drained" };
  const granted = acquire(freeze(FREE), client, 2, 5, node);
  equal(granted.kind, "grant");
  if (granted.kind !== "grant") return;
  deepEqual(granted.next.holders, [{ id: client, since: 5, node }]);
  const state = freeze(granted.next);
  deepEqual(acquire(state, client, 2, 9, { name: "n2", phase: "draining" }), {
    kind: "renew",
    next: { ...state, renewed: 9 },
  });
  const second = acquire(state, other, 2, 9);
  deepEqual(second.kind === "grant" && second.next.holders, [...state.holders, { id: other, since: 9 }]);
});

test("amending changes the node of one holder and nothing else", () => {
  const [first, second, none] = CLIENTS as [ClientId, ClientId, ClientId];
  const holders = [{ id: first, since: 1 }, { id: second, since: 2 }];
  const state = freeze({ holders, transitions: 2, renewed: 2 });
  const node: HeldNode = { name: "n2", phase: "failed" };
  deepEqual(amend(state, { id: second, since: 2 }, 7, node), {
    holders: [{ id: first, since: 1 }, { id: second, since: 2, node }],
    transitions: 2,
    renewed: 7,
  });
  equal(amend(state, { id: none, since: 1 }, 7, node), undefined);
  // Another grant to the same client.
  equal(amend(state, { id: second, since: 1 }, 7, node), undefined);
});

test("ids are told apart by every character", () => {
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

/** So that a change in place throws. */
function freeze(state: GroupState): GroupState {
  for (const holder of state.holders) Object.freeze(holder);
  Object.freeze(state.holders);
  return Object.freeze(state);
}

function test(name: string, fn: () => void): void {
  Deno.test({ name: `semaphore: ${name}`, sanitizeOps: true, sanitizeResources: true, fn });
}
