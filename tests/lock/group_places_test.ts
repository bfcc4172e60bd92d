/** How many groups may exist, and which requests count before their group does. @module */

import { equal } from "node:assert/strict";
import { GroupPlaces } from "../../src/lock/group_places.ts";
import { type Group, parseGroup } from "../../src/lock/identity.ts";
import { ABSENT, type Versioned } from "../../src/lock/lock_store.ts";

const named = (name: string): Group => parseGroup(name)!;
const stored = (version: number): Versioned => ({ ...ABSENT, version });

/** Places of two groups, over a store with these groups, of which the view has seen some. */
function setUp(groups: readonly string[], seen: readonly string[] = []) {
  const inStore = new Map(groups.map((name, index) => [named(name), stored(index + 1)]));
  const view = new Map<Group, Versioned>(seen.map((name) => [named(name), inStore.get(named(name)) ?? ABSENT]));
  const lists = { count: 0 };
  const places = new GroupPlaces(2, view, () => {
    lists.count++;
    return Promise.resolve(new Map(inStore));
  });
  return { inStore, lists, reserve: (name: string) => places.reserve(named(name)), places };
}

Deno.test("a group that has been seen needs no place and no list, even beyond the limit", async () => {
  const { reserve, lists, places } = setUp(["a", "b", "c"], ["c"]);
  using place = await reserve("c");
  equal(place === undefined, false);
  equal(lists.count, 0);
  equal(places.limit, 2);
});

Deno.test("a group that is in the store gets a place even where the limit is reached, and one that is not gets none", async () => {
  const { reserve, lists } = setUp(["a", "b"]);
  using known = await reserve("a");
  equal(known === undefined, false);
  equal(await reserve("c"), undefined);
  equal(lists.count, 2);
});

Deno.test("a group that has been seen to be absent is looked up", async () => {
  const { reserve, lists } = setUp(["a"], ["c"]);
  using place = await reserve("c");
  equal(place === undefined, false);
  equal(lists.count, 1);
});

Deno.test("a new group counts from its first request on, once for all of its requests, until the last has ended", async () => {
  const { reserve } = setUp(["a"]);
  const [first, second] = [await reserve("b"), await reserve("b")];
  equal(first !== undefined && second !== undefined, true);
  equal(await reserve("c"), undefined);
  first![Symbol.dispose]();
  equal(await reserve("c"), undefined);
  second![Symbol.dispose]();
  const later = await reserve("c");
  equal(later === undefined, false);
  equal(await reserve("b"), undefined);
});

Deno.test("a group that has come into the store counts once, also while its request has not ended", async () => {
  const { reserve, inStore } = setUp([]);
  using first = await reserve("a");
  equal(first === undefined, false);
  inStore.set(named("a"), stored(1));
  using second = await reserve("b");
  equal(second === undefined, false);
  equal(await reserve("c"), undefined);
});

Deno.test("of simultaneous requests for new groups, only as many get a place as there are", async () => {
  const { reserve } = setUp([]);
  const places = await Promise.all(["a", "b", "c", "a"].map((name) => reserve(name)));
  equal(places.map((place) => place === undefined ? "-" : "+").join(""), "++-+");
});
