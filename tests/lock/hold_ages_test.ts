/** How old holds are, as far as a process has seen that by itself. @module */

import { deepEqual, equal } from "node:assert/strict";
import { ageWithin, HoldAges } from "../../src/lock/hold_ages.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import type { GroupState, Holder } from "../../src/lock/semaphore.ts";
import { FakeClock } from "../support/fake_clock.ts";

const GROUP = parseGroup("default")!;
const OTHER = parseGroup("other")!;
const hold = (id: string, since: number): Holder => ({ id: parseClientId(id)!, since });
const state = (...holders: Holder[]): GroupState => ({ holders, transitions: holders.length });

function setUp() {
  const clock = new FakeClock();
  const ages = new HoldAges(clock);
  const since = clock.now();
  return { clock, ages, since, of: (id: string, at = since, group = GROUP) => ages.of(group, hold(id, at)) };
}

Deno.test("a hold that comes while the view is in step is at least as old as it was seen, and two minutes older at most", async () => {
  for (const ahead of [-86_400_000, 0, 86_400_000]) {
    const { clock, ages, since, of } = setUp();
    ages.synced();
    await clock.advance(5_000);
    ages.changed(GROUP, state(hold("a", since + ahead)));
    deepEqual(of("a", since + ahead), { atLeastMs: 0, atMostMs: 120_000 });
    await clock.advance(7_000);
    deepEqual(of("a", since + ahead), { atLeastMs: 7_000, atMostMs: 127_000 });
  }
});

Deno.test("a hold that the first listing shows may be of any age", async () => {
  const { clock, ages, since, of } = setUp();
  ages.changed(GROUP, state(hold("a", since)));
  ages.synced();
  await clock.advance(7_000);
  deepEqual(of("a"), { atLeastMs: 7_000, atMostMs: Infinity });
});

Deno.test("a hold that a later listing shows was not there when the view was in step last", async () => {
  const { clock, ages, since, of } = setUp();
  ages.synced();
  await clock.advance(1_000);
  ages.lost();
  await clock.advance(60_000);
  // It is lost already.
  ages.lost();
  ages.changed(GROUP, state(hold("a", since)));
  ages.synced();
  ages.changed(GROUP, state(hold("a", since), hold("b", since)));
  deepEqual([of("a").atMostMs, of("b").atMostMs], [180_000, 120_000]);
});

Deno.test("a hold has the age of its grant: changes of the group do not matter, another grant to the client does", async () => {
  const { clock, ages, since: now, of } = setUp();
  const since = Math.floor(now / 1_000) * 1_000 + 234;
  ages.synced();
  ages.changed(GROUP, state(hold("a", since)));
  await clock.advance(10_000);
  // A record that has lost its annotation keeps whole seconds.
  ages.changed(GROUP, state(hold("a", since - 234), hold("b", since)));
  deepEqual([of("a", since).atLeastMs, of("a", since - 234).atLeastMs, of("b", since).atLeastMs], [10_000, 10_000, 0]);
  deepEqual(of("a", since + 1_000), { atLeastMs: 0, atMostMs: Infinity }, "this one was never seen");
  ages.changed(GROUP, state(hold("a", since + 1)));
  deepEqual([of("a", since + 1).atLeastMs, of("b", since).atLeastMs], [0, 0]);
  deepEqual(of("a", since + 1, OTHER), { atLeastMs: 0, atMostMs: Infinity });
});

Deno.test("a hold that is over is forgotten, and one that comes back is a new one", async () => {
  const { clock, ages, since, of } = setUp();
  ages.synced();
  ages.changed(GROUP, state(hold("a", since)));
  ages.changed(GROUP, state());
  deepEqual(of("a"), { atLeastMs: 0, atMostMs: Infinity });
  await clock.advance(10_000);
  ages.changed(GROUP, state(hold("a", since)));
  deepEqual(of("a"), { atLeastMs: 0, atMostMs: 120_000 });
});

Deno.test("what a clock claims counts within what was seen", () => {
  const bounds = { atLeastMs: 10, atMostMs: 20 };
  deepEqual([-5, 9, 15, 25].map((claimed) => ageWithin(claimed, bounds)), [10, 10, 15, 20]);
  equal(ageWithin(25), 25);
  equal(ageWithin(-5), 0);
});
