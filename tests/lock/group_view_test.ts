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

Deno.test("a view drops what was deleted, unless it knows of something newer", () => {
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

Deno.test("a view out of step believes what is read", () => {
  const view = new GroupView();
  view.synced(listing(5, [[A, at(3)]]));
  view.lost("gone");
  view.learn(A, at(2));
  equal(view.get(A)?.version, 2);
  view.learn(A, ABSENT);
  equal(view.get(A), undefined);
});

Deno.test("a store that went back to a backup takes the view with it", () => {
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

Deno.test("a group that an administrator put back to an earlier version is seen as it is", () => {
  const view = new GroupView();
  view.synced(listing(5, [[A, at(5)]]));
  view.synced(listing(5, [[A, at(1)]]));
  equal(view.get(A)?.version, 1);
});

Deno.test("a view that has fallen behind keeps what it knows and claims no more", () => {
  const told: unknown[] = [];
  const view = new GroupView({ synced: () => told.push("synced"), lost: (reason) => told.push(reason) });
  view.synced(listing(5, [[A, at(3)]]));
  view.lost("gone");
  equal(view.isSynced, false);
  equal(view.get(A)?.version, 3);
  equal(view.get(B), undefined);
  deepEqual(told, ["synced", "gone"]);
});

Deno.test("a view does not grow by groups that do not exist", () => {
  const view = new GroupView();
  view.learn(A, ABSENT);
  view.changed(B, ABSENT, 4);
  equal(view.groups.size, 0);
});

Deno.test("a view tells once of each holder that is gone or holds by another grant", () => {
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
