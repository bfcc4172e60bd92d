/** How requests wait for what a watch shows. @module */

import { equal } from "node:assert/strict";
import { Waiters } from "../../../src/keeper/nodes/waiters.ts";
import { FakeClock } from "../../support/fake_clock.ts";

/** Begins a wait of a minute for a condition that a test sets. */
function setUp(signal?: AbortSignal) {
  const clock = new FakeClock();
  const waiters = new Waiters(clock);
  const state = { isMet: false, asked: 0 };
  const condition = () => {
    state.asked++;
    return state.isMet;
  };
  let outcome: boolean | undefined;
  const begin = () => void waiters.until(condition, 60_000, signal).then((reached) => outcome = reached);
  return { clock, waiters, state, begin, outcome: () => outcome };
}

Deno.test("a condition that is met already is not waited for", async () => {
  const { clock, state, begin, outcome } = setUp();
  state.isMet = true;
  begin();
  await clock.advance(0);
  equal(outcome(), true);
  equal(clock.sleepers, 0);
});

Deno.test("a wait ends with the change that meets its condition, and looks at nothing after that", async () => {
  const { clock, waiters, state, begin, outcome } = setUp();
  begin();
  waiters.wake();
  await clock.advance(59_999);
  equal(outcome(), undefined);
  state.isMet = true;
  await clock.advance(0);
  // What nobody tells of is not seen.
  equal(outcome(), undefined);
  waiters.wake();
  // The first change that meets the condition counts, whatever follows before the waiter runs.
  state.isMet = false;
  waiters.wake();
  await clock.advance(0);
  equal(outcome(), true);
  equal(clock.sleepers, 0);
  equal(state.asked, 3);
  waiters.wake();
  equal(state.asked, 3);
});

Deno.test("a wait is over after its time, with the condition not met", async () => {
  const { clock, waiters, state, begin, outcome } = setUp();
  begin();
  await clock.advance(60_000);
  equal(outcome(), false);
  waiters.wake();
  equal(state.asked, 1);
});

Deno.test("a signal ends a wait at once", async () => {
  const stop = new AbortController();
  const { clock, begin, outcome } = setUp(stop.signal);
  begin();
  await clock.advance(0);
  equal(outcome(), undefined);
  stop.abort();
  await clock.advance(0);
  equal(outcome(), false);
  equal(clock.sleepers, 0);
});

Deno.test("a wait with a signal ends with its condition, and one of a signal that was given before does not begin", async () => {
  const stop = new AbortController();
  const { clock, waiters, state, begin, outcome } = setUp(stop.signal);
  begin();
  state.isMet = true;
  waiters.wake();
  await clock.advance(0);
  equal(outcome(), true);
  const ended = setUp(AbortSignal.abort());
  ended.begin();
  await ended.clock.advance(0);
  equal(ended.outcome(), false);
});
