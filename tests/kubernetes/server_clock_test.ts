import { equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { ServerClock } from "../../src/kubernetes/server_clock.ts";
import type { Clock } from "../../src/lock/clock.ts";

/** A machine whose wall clock and monotonic clock are set by the test. */
class Machine implements Clock {
  wall = Date.UTC(2026, 10, 25, 12);
  mono = 5_000_000;
  now = () => this.wall;
  monotonic = () => this.mono;
  sleep = (ms: number) => Promise.resolve(this.pass(ms));
  pass(ms: number): void {
    this.wall += ms;
    this.mono += ms;
  }
}

/** The header that an API server sends at a time. */
const header = (time: number) => new Date(time).toUTCString();

Deno.test("shows this machine's time until the API server has told its own", () => {
  const machine = new Machine();
  const clock = new ServerClock(machine);
  equal(clock.now(), machine.wall);
  equal(clock.skewMs, undefined);
  equal(clock.isFresh(60_000), false);
});

Deno.test("is never behind the API server, and ahead by less than a second and a call", () => {
  const calls = fc.array(
    fc.record({
      pauseMs: fc.integer({ min: 0, max: 20_000 }),
      thereMs: fc.integer({ min: 0, max: 2_000 }),
      backMs: fc.integer({ min: 0, max: 2_000 }),
    }),
    { minLength: 1 },
  );
  fc.assert(fc.property(calls, fc.integer({ min: -86_400_000, max: 86_400_000 }), (calls, ahead) => {
    const machine = new Machine();
    const clock = new ServerClock(machine);
    const server = () => machine.wall - ahead;
    for (const { pauseMs, thereMs, backMs } of calls) {
      machine.pass(pauseMs);
      const sentAt = machine.mono;
      machine.pass(thereMs);
      const date = header(server());
      machine.pass(backMs);
      clock.observe(date, sentAt, machine.mono);
      ok(clock.now() >= server());
      ok(clock.now() - server() <= 1_000 + thereMs + backMs);
      // The wall clock is off by `ahead`, of which the answers leave a second and the call's duration open.
      const skew = clock.skewMs!;
      ok(Math.abs(skew) <= Math.abs(ahead) && Math.abs(skew - ahead) <= 1_000 + thereMs + backMs, `${skew} ${ahead}`);
    }
  }));
});

Deno.test("several answers tell the time more closely than one", () => {
  const machine = new Machine();
  const clock = new ServerClock(machine);
  machine.wall += 900;
  clock.observe(header(machine.wall), machine.mono, machine.mono);
  equal(clock.now() - machine.wall, 100);
  machine.pass(200);
  clock.observe(header(machine.wall), machine.mono, machine.mono);
  equal(clock.now() - machine.wall, 100);
  const [once, sure] = [new ServerClock(machine), clock];
  once.observe(header(machine.wall), machine.mono, machine.mono);
  ok(once.now() > sure.now());
});

Deno.test("follows an API server whose clock was set, forwards and back", () => {
  for (const stepMs of [3_600_000, -3_600_000]) {
    const machine = new Machine();
    const clock = new ServerClock(machine);
    clock.observe(header(machine.wall), machine.mono, machine.mono);
    machine.pass(1_000);
    clock.observe(header(machine.wall + stepMs), machine.mono, machine.mono);
    equal(clock.now(), machine.wall + stepMs + 1_000);
    equal(Math.sign(clock.skewMs!), -Math.sign(stepMs));
  }
});

Deno.test("goes on while this machine's wall clock jumps", () => {
  const machine = new Machine();
  const clock = new ServerClock(machine);
  clock.observe(header(machine.wall), machine.mono, machine.mono);
  const before = clock.now();
  machine.wall += 3_600_000;
  machine.mono += 500;
  equal(clock.now(), before + 500);
});

Deno.test("is fresh for as long after the last answer as is asked", () => {
  const machine = new Machine();
  const clock = new ServerClock(machine);
  clock.observe(header(machine.wall), machine.mono, machine.mono);
  machine.pass(60_000);
  equal(clock.isFresh(60_000), true);
  machine.pass(1);
  equal(clock.isFresh(60_000), false);
});

Deno.test("passes over a header that is missing or not a date", () => {
  const machine = new Machine();
  const clock = new ServerClock(machine);
  for (const date of [null, "", "soon"]) clock.observe(date, machine.mono, machine.mono);
  equal(clock.skewMs, undefined);
  equal(clock.isFresh(60_000), false);
});
