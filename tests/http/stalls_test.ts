/** Whether what is read may have waited while the process was stopped. @module */

import { equal } from "node:assert/strict";
import { Stalls } from "../../src/http/stalls.ts";

/** Clocks that a test sets, and a process that has run for a while. */
class Process implements Disposable {
  ranMs = 5_000;
  wallMs = 1_800_000_000_000;
  readonly stalls = new Stalls({ now: () => this.wallMs, monotonic: () => this.ranMs });

  pass(ms: number, wallMs = ms): boolean {
    this.ranMs += ms;
    this.wallMs += wallMs;
    return this.stalls.mayBeLate;
  }

  [Symbol.dispose](): void {
    this.stalls[Symbol.dispose]();
  }
}

Deno.test("while the process runs, nothing is late", () => {
  using process = new Process();
  for (let n = 0; n < 100; n++) {
    equal(process.pass(500 + n), false);
    process.stalls.tick();
  }
});

for (
  const [what, ms, wallMs] of [
    ["a stop of more than a second", 1_001, 1_001],
    ["a stop of a minute", 60_000, 60_000],
    ["a suspended machine, whose monotonic time stood still", 10, 60_000],
    ["a wall clock that was set back", 10, -60_000],
  ] as const
) {
  for (const ticksFirst of [false, true]) {
    Deno.test(`${what} makes late for ten seconds what is read ${ticksFirst ? "after the next tick" : "first"}`, () => {
      using process = new Process();
      if (ticksFirst) {
        process.ranMs += ms;
        process.wallMs += wallMs;
        process.stalls.tick();
        equal(process.pass(0), true);
      } else {
        equal(process.pass(ms, wallMs), true);
        process.stalls.tick();
      }
      for (let n = 0; n < 19; n++) {
        equal(process.pass(500), true);
        process.stalls.tick();
      }
      equal(process.pass(499), true);
      equal(process.pass(2), false);
    });
  }
}

Deno.test("a second is not a stop", () => {
  using process = new Process();
  equal(process.pass(1_000), false);
  equal(process.pass(0, 500), false);
});
