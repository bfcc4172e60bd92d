/** Requests whose clients hang up: they take and free no slot where that was at once. @module */

import { deepEqual, equal } from "node:assert/strict";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { MemoryLockStore } from "../../src/lock/lock_store.ts";
import type { PreRebootOutcome, SteadyStateOutcome } from "../../src/lock/outcomes.ts";
import { Presence } from "../../src/lock/presence.ts";
import { FakeClock, HastyClock } from "../support/fake_clock.ts";
import { ScriptedPolicy } from "../support/scripted_policy.ts";

const group = parseGroup("default")!;
const alice: ClientId = parseClientId("alice")!;

/** A service whose clock a test moves on while the store writes. */
function setUp() {
  const clock = new HastyClock();
  const policy = new ScriptedPolicy();
  let beforeWrite = () => {};
  const store = new class extends MemoryLockStore {
    override write(...args: Parameters<MemoryLockStore["write"]>) {
      beforeWrite();
      return super.write(...args);
    }
  }();
  const locks = new LockService(store, { clock, policy, random: () => 0 });
  const hangUp = new AbortController();
  return {
    clock,
    policy,
    hangUp,
    onWrite: (act: () => void) => beforeWrite = act,
    preReboot: () => locks.preReboot(alice, group, () => hangUp.signal),
    steadyState: () => locks.steadyState(alice, group, () => hangUp.signal),
    grant: () => locks.preReboot(alice, group),
    holders: async () => (await store.read(group)).state.holders.map(({ id }) => id),
  };
}

function kindOf(outcome: PreRebootOutcome | SteadyStateOutcome): string {
  return outcome.kind === "refused" ? outcome.refusal.kind : outcome.kind;
}

Deno.test("a client is gone where it hung up within five seconds of its request, and not later", async () => {
  for (const [afterMs, expected] of [[undefined, false], [0, true], [5_000, true], [5_001, false]] as const) {
    const clock = new FakeClock();
    const hangUp = new AbortController();
    const presence = new Presence(() => hangUp.signal, clock);
    equal(presence.isGone, false);
    await clock.advance(afterMs ?? 10_000);
    if (afterMs !== undefined) hangUp.abort();
    deepEqual([presence.isGone, await presence.settled(20)], [expected, expected]);
  }
});

Deno.test("a client that had hung up before is gone, and one of which nobody can tell is not", async () => {
  const clock = new FakeClock();
  const gone = new Presence(() => AbortSignal.abort(), clock);
  deepEqual([gone.isGone, await gone.settled(20)], [true, true]);
  const unknown = new Presence(undefined, clock);
  deepEqual([unknown.isGone, await unknown.settled(20)], [false, false]);
});

Deno.test("a hang-up is given time to be noticed", async () => {
  const clock = new FakeClock();
  const hangUp = new AbortController();
  const settled = new Presence(() => hangUp.signal, clock).settled(20);
  await clock.advance(19);
  equal(clock.sleepers, 1);
  hangUp.abort();
  await clock.advance(1);
  equal(await settled, true);
});

Deno.test("a steady-state whose client is gone frees no slot: its client may reboot by a later yes", async () => {
  const { hangUp, grant, steadyState, holders } = setUp();
  await grant();
  const late = steadyState();
  hangUp.abort();
  equal(kindOf(await late), "contended");
  deepEqual(await holders(), [alice]);
});

Deno.test("a steady-state that a proxy cuts goes on", async () => {
  const { clock, hangUp, grant, steadyState, holders, onWrite } = setUp();
  await grant();
  onWrite(() => hangUp.abort());
  equal(kindOf(await steadyState()), "released");
  deepEqual(await holders(), []);
  equal(clock.passed < 5_000, true);
});

Deno.test("a steady-state whose client is gone and holds nothing is confirmed all the same", async () => {
  const { hangUp, steadyState } = setUp();
  hangUp.abort();
  equal(kindOf(await steadyState()), "not_held");
});

Deno.test("a pre-reboot whose client is gone takes no slot: nobody would ask for it again", async () => {
  const { hangUp, preReboot, holders } = setUp();
  const late = preReboot();
  hangUp.abort();
  equal(kindOf(await late), "contended");
  deepEqual(await holders(), []);
});

Deno.test("a pre-reboot whose client hangs up while the policies judge takes no slot either", async () => {
  const { hangUp, policy, preReboot, holders } = setUp();
  policy.judges = () => {
    hangUp.abort();
    return Promise.resolve({});
  };
  equal(kindOf(await preReboot()), "contended");
  deepEqual(await holders(), []);
});

Deno.test("a process that is too busy to notice a hang-up in time waits again, a few times", async () => {
  for (const [busyRounds, expected] of [[0, 1], [2, 3], [9, 5]] as const) {
    const clock = new FakeClock();
    const began = clock.monotonic();
    let sleeps = 0;
    const monotonic = () => began + sleeps * 20 + Math.min(sleeps, busyRounds) * 21;
    const sleep = (ms: number) => {
      equal(ms, 20);
      sleeps++;
      return Promise.resolve();
    };
    equal(await new Presence(() => new AbortController().signal, { monotonic, sleep }).settled(20), false);
    equal(sleeps, expected);
  }
});

Deno.test("a pre-reboot that a proxy cuts takes its slot, for its client's next request", async () => {
  const { clock, hangUp, policy, preReboot, holders } = setUp();
  policy.judges = async () => {
    await clock.advance(5_001);
    hangUp.abort();
    return {};
  };
  equal(kindOf(await preReboot()), "granted");
  deepEqual(await holders(), [alice]);
});

Deno.test("a hold is renewed for whoever asks: it is there already", async () => {
  const { hangUp, grant, preReboot } = setUp();
  await grant();
  hangUp.abort();
  equal(kindOf(await preReboot()), "renewed");
});
