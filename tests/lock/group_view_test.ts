import { deepEqual, equal } from "node:assert/strict";
import { GroupView } from "../../src/lock/group_view.ts";
import { type Group, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { ABSENT, type Versioned } from "../../src/lock/lock_store.ts";
import { FREE } from "../../src/lock/semaphore.ts";

const A = parseGroup("a")!;
const B = parseGroup("b")!;

function at(version: number): Versioned {
  return { state: { ...FREE, transitions: version }, version };
}

function listing(version: number, groups: [Group, Versioned][]) {
  return { groups: new Map(groups), version };
}

Deno.test("a view knows nothing before the first listing, then that other groups are absent", () => {
  const view = new GroupView();
  equal(view.get(A), undefined);
  view.synced(listing(5, [[A, at(3)]]));
  equal(view.get(A)?.version, 3);
  equal(view.get(B), ABSENT);
});

Deno.test("a view never goes back to an older version", () => {
  const view = new GroupView();
  view.learn(A, at(7));
  view.changed(A, at(6), 6);
  equal(view.get(A)?.version, 7);
  view.synced(listing(6, [[A, at(5)]]));
  equal(view.get(A)?.version, 7);
  view.changed(A, ABSENT, 6);
  equal(view.get(A)?.version, 7);
});

Deno.test("a view drops deleted groups, unless it has a newer version", () => {
  const view = new GroupView();
  view.synced(listing(5, [[A, at(3)], [B, at(4)]]));
  view.changed(A, ABSENT, 6);
  equal(view.get(A), ABSENT);
  view.learn(A, at(9));
  view.synced(listing(8, []));
  equal(view.get(A)?.version, 9);
  equal(view.get(B), ABSENT);
});

Deno.test("an answer from before a deletion does not bring the group back", () => {
  const view = new GroupView();
  view.synced(listing(5, [[A, at(3)]]));
  view.changed(A, ABSENT, 6);
  view.learn(A, at(3));
  view.learn(A, at(6));
  equal(view.get(A), ABSENT);
  view.learn(A, at(7));
  equal(view.get(A)?.version, 7);
});

Deno.test("an answer from before a creation does not take the group away", () => {
  const view = new GroupView();
  view.synced(listing(5, []));
  view.changed(A, at(6), 6);
  view.learn(A, ABSENT);
  equal(view.get(A)?.version, 6);
});

Deno.test("a view that is behind takes over what is read", () => {
  const view = new GroupView();
  view.synced(listing(5, [[A, at(3)]]));
  view.lost("gone");
  view.learn(A, at(2));
  equal(view.get(A)?.version, 2);
  view.learn(A, ABSENT);
  equal(view.get(A), undefined);
});

Deno.test("a view follows a store that was restored from a backup", () => {
  const view = new GroupView();
  view.synced(listing(5, [[A, at(5)]]));
  view.changed(A, at(8), 8);
  view.changed(B, at(9), 9);
  view.synced(listing(5, [[A, at(5)]]));
  equal(view.get(A)?.version, 5);
  equal(view.get(B), ABSENT);
  view.changed(A, at(6), 6);
  equal(view.get(A)?.version, 6);
});

Deno.test("a view takes over an earlier version of a group from a listing", () => {
  const view = new GroupView();
  view.synced(listing(5, [[A, at(5)]]));
  view.synced(listing(5, [[A, at(1)]]));
  equal(view.get(A)?.version, 1);
});

Deno.test("a view that has fallen behind keeps what it knows and no longer reports groups as absent", () => {
  const told: unknown[] = [];
  const view = new GroupView({ synced: () => told.push("synced"), lost: (reason) => told.push(reason) });
  view.synced(listing(5, [[A, at(3)]]));
  view.lost("gone");
  equal(view.isSynced, false);
  equal(view.get(A)?.version, 3);
  equal(view.get(B), undefined);
  deepEqual(told, ["synced", "gone"]);
});

Deno.test("a view stores nothing for groups that do not exist", () => {
  const view = new GroupView();
  view.learn(A, ABSENT);
  view.changed(B, ABSENT, 4);
  equal(view.groups.size, 0);
});

Deno.test("a view reports once each hold that has ended", () => {
  const held = (version: number, ...holders: [string, number][]): Versioned => ({
    state: { holders: holders.map(([id, since]) => ({ id: parseClientId(id)!, since })), transitions: version },
    version,
  });
  const ended: string[] = [];
  const view = new GroupView({ ended: (group, id) => ended.push(`${group}/${id}`) });
  view.synced(listing(5, [[A, held(3, ["alice", 1], ["bob", 2])], [B, held(4, ["carol", 3])]]));
  view.changed(A, held(6, ["alice", 1]), 6);
  view.changed(A, held(6, ["alice", 1]), 6);
  deepEqual(ended, ["a/bob"]);
  view.learn(A, held(7, ["alice", 9]));
  deepEqual(ended, ["a/bob", "a/alice"]);
  view.synced(listing(8, [[A, held(7, ["alice", 9])]]));
  deepEqual(ended, ["a/bob", "a/alice", "b/carol"]);
});

Deno.test("a view reports each change of a group's state once, with what was known before", () => {
  const told: unknown[][] = [];
  const view = new GroupView({ changed: (...change) => told.push(change) });
  const [first, second, third] = [at(3), at(6), at(8)];
  const steps: [what: string, step: () => void, change: unknown[] | undefined][] = [
    ["a listing", () => view.synced(listing(5, [[A, first]])), [A, undefined, first.state]],
    ["the same listing", () => view.synced(listing(5, [[A, first]])), undefined],
    ["a write of this process", () => view.learn(A, second), [A, first.state, second.state]],
    ["the watch's word of that write", () => view.changed(A, at(6), 6), undefined],
    ["another process's write", () => view.changed(A, third, 8), [A, second.state, third.state]],
    ["a new version of the same state", () => view.changed(A, { state: third.state, version: 9 }, 9), undefined],
    ["a deletion", () => view.changed(A, ABSENT, 10), [A, third.state, ABSENT.state]],
  ];
  for (const [what, step, change] of steps) {
    step();
    deepEqual(told.splice(0), change === undefined ? [] : [change], what);
  }
});
