import { deepEqual, equal } from "node:assert/strict";
import { type ClientId, type Group, parseGroup } from "../../src/lock/identity.ts";
import type { Refusal } from "../../src/lock/outcomes.ts";
import type { GroupState } from "../../src/lock/semaphore.ts";
import type { Stage } from "../../src/status/account.ts";
import { type SeenBoot, StatusMemory } from "../../src/status/memory.ts";

const NOW = Date.parse("2026-11-26T12:00:00Z");
const WORKERS: Group = parseGroup("workers")!;
const OTHERS: Group = parseGroup("others")!;
const contended: Refusal = { kind: "contended" };
const id = (text: string) => text as ClientId;
const state = (...holders: [string, number][]): GroupState => {
  return { holders: holders.map(([each, since]) => ({ id: id(each), since })), transitions: 0 };
};

Deno.test("a client waits from its first refusal until it is served, or has stopped to ask", () => {
  const memory = new StatusMemory();
  memory.refused(WORKERS, id("a"), contended, NOW);
  memory.refused(WORKERS, id("b"), contended, NOW + 1_000);
  memory.refused(OTHERS, id("c"), contended, NOW);
  memory.refused(WORKERS, id("a"), { kind: "too_many_groups", limit: 3 }, NOW + 300_000);
  const waiting = memory.waiting(WORKERS, NOW + 300_000);
  deepEqual(waiting.map((one) => [one.id, one.since, one.at, one.refusal.kind]), [
    ["a", NOW, NOW + 300_000, "too_many_groups"],
    ["b", NOW + 1_000, NOW + 1_000, "contended"],
  ]);
  equal(memory.waiting(WORKERS, NOW + 1_000 + 12 * 60_000).length, 2);
  equal(memory.waiting(WORKERS, NOW + 1_001 + 12 * 60_000).length, 1);
  memory.served(WORKERS, id("a"), NOW + 400_000);
  deepEqual(memory.waiting(WORKERS, NOW + 300_000).map((one) => one.id), ["b"]);
  equal(memory.lastPoll(WORKERS, id("a")), NOW + 400_000);
  equal(memory.lastPoll(WORKERS, id("b")), NOW + 1_000);
  equal(memory.lastPoll(OTHERS, id("a")), undefined);
});

Deno.test("a turn is over when its hold is gone, whoever ended it, also where the client holds a slot again", () => {
  const memory = new StatusMemory();
  memory.changed(WORKERS, undefined, state(["a", NOW]), NOW);
  memory.changed(WORKERS, state(["a", NOW]), state(["a", NOW], ["b", NOW + 1]), NOW + 1);
  deepEqual(memory.turns(WORKERS), []);
  memory.changed(WORKERS, state(["a", NOW], ["b", NOW + 1]), state(["b", NOW + 1]), NOW + 60_000);
  memory.changed(WORKERS, state(["b", NOW + 1]), state(["b", NOW + 90_000]), NOW + 90_000);
  deepEqual(memory.turns(WORKERS).map(({ holder, released }) => [holder.id, holder.since, released]), [
    ["b", NOW + 1, NOW + 90_000],
    ["a", NOW, NOW + 60_000],
  ]);
  deepEqual(memory.turns(OTHERS), []);
});

Deno.test("a hold's stage has begun when it was first seen, and begins anew with another stage or another hold", () => {
  const memory = new StatusMemory();
  const hold = { id: id("a"), since: NOW };
  const moment = (ms: number) => ({ since: NOW + ms, at: 70_000 + ms });
  const is = (group: Group, of: typeof hold, stage: Stage, now: number, since: number) => {
    const { since: told, at } = memory.stage(group, of, stage, moment(now));
    deepEqual({ since: told, at }, moment(since));
  };
  is(WORKERS, hold, "draining", 0, 0);
  is(WORKERS, hold, "draining", 5_000, 0);
  is(WORKERS, hold, "rebooting", 6_000, 6_000);
  is(WORKERS, { ...hold, since: NOW + 1 }, "rebooting", 7_000, 7_000);
  is(OTHERS, hold, "rebooting", 8_000, 8_000);
  is(WORKERS, hold, "rebooting", 9_000, 6_000);
});

Deno.test("what is remembered is bounded, and the oldest is forgotten first", () => {
  const memory = new StatusMemory();
  for (let nth = 0; nth < 5_000; nth++) memory.refused(WORKERS, id(`h${nth}`), contended, NOW + nth);
  const waiting = memory.waiting(WORKERS, NOW + 5_000);
  equal(waiting.length, 4_096);
  equal(waiting[0]!.id, "h904");
  equal(memory.lastPoll(WORKERS, id("h903")), undefined);
  for (let nth = 0; nth < 30; nth++) memory.changed(WORKERS, state([`t${nth}`, NOW]), state(), NOW);
  equal(memory.turns(WORKERS).length, 20);
  equal(memory.turns(WORKERS)[0]!.holder.id, "t29");
  for (let nth = 0; nth < 300; nth++) memory.changed(parseGroup(`g${nth}`)!, state(["t", NOW]), state(), NOW);
  equal(memory.turns(WORKERS).length, 0);
});

Deno.test("clients that wait for the same holders keep one refusal, and not one for each poll", () => {
  const memory = new StatusMemory();
  const { holders } = state(["t", NOW]);
  for (let poll = 0; poll < 3; poll++) {
    for (const client of ["a", "b"]) memory.refused(WORKERS, id(client), { kind: "lock_held", holders, slots: 1 }, NOW);
  }
  const [one, other] = memory.waiting(WORKERS, NOW);
  equal(one!.refusal, other!.refusal);
  const later = [...holders];
  memory.refused(WORKERS, id("a"), { kind: "lock_held", holders: later, slots: 1 }, NOW);
  const kept = memory.waiting(WORKERS, NOW).map(({ refusal }) => refusal.kind === "lock_held" && refusal.holders);
  deepEqual([kept[0] === later, kept[1] === holders], [true, true]);
});

/** A hold on a node that ran with the boot `b1` at its grant. */
const held = (since: number): GroupState => ({
  holders: [{ id: id("a"), since, node: { name: "node-a", uid: "u", bootId: "b1", phase: "drained" } }],
  transitions: 0,
});

for (
  const [name, atGrant, atEnd, isSameImage] of [
    ["a new image", { bootId: "b1", image: "40" }, { bootId: "b2", image: "41" }, false],
    ["its old image", { bootId: "b1", image: "40" }, { bootId: "b2", image: "40" }, true],
    ["no reboot", { bootId: "b1", image: "40" }, { bootId: "b1", image: "40" }, undefined],
    ["an image that is not reported", { bootId: "b1", image: "40" }, { bootId: "b2" }, undefined],
    [
      "an image, and the replica saw the grant late",
      { bootId: "b2", image: "40" },
      { bootId: "b2", image: "40" },
      undefined,
    ],
    ["a node that is not there any more", { bootId: "b1", image: "40" }, undefined, undefined],
  ] as readonly (readonly [string, SeenBoot, SeenBoot | undefined, boolean | undefined])[]
) {
  Deno.test(`whether a host came back with the image of the grant: ${name}`, () => {
    const memory = new StatusMemory();
    deepEqual(memory.changed(WORKERS, undefined, held(NOW), NOW, () => atGrant), []);
    const turns = memory.changed(WORKERS, held(NOW), state(), NOW + 1, () => atEnd);
    deepEqual(turns.map((turn) => turn.isSameImage), [isSameImage]);
    deepEqual(memory.turns(WORKERS), turns);
  });
}

Deno.test("a host counts as rolled back until its image changes or a later turn of it ends otherwise", () => {
  const memory = new StatusMemory();
  let seen: SeenBoot | undefined = { bootId: "b1", image: "40" };
  const rolledBack = () => [...memory.rolledBack(() => seen)].map(({ group, turn }) => [group, turn.holder.id]);
  const turn = (since: number, image: string) => {
    seen = { bootId: "b1", image: "40" };
    memory.changed(WORKERS, state(), held(since), since, () => seen);
    deepEqual(rolledBack(), since === NOW ? [] : [[WORKERS, "a"]]);
    seen = { bootId: "b2", image };
    memory.changed(WORKERS, held(since), state(), since + 1, () => seen);
  };
  turn(NOW, "40");
  deepEqual(rolledBack(), [[WORKERS, "a"]]);
  seen = { bootId: "b3", image: "41" };
  deepEqual(rolledBack(), []);
  seen = undefined;
  deepEqual(rolledBack(), []);
  turn(NOW + 10, "41");
  deepEqual(rolledBack(), []);
  // The turn before it does not count, even where the image is back.
  seen = { bootId: "b4", image: "40" };
  deepEqual(rolledBack(), []);
});
