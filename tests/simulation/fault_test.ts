/**
 * What the code under test throws where nobody handles it is a violation of the seed, and ends no exploration. @module
 */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { setImmediate } from "node:timers";
import { failureOf } from "./failure.ts";
import { planOf } from "./plan.ts";
import { runPlan, type RunResult } from "./run.ts";
import type { World } from "./world.ts";

const PLAN = planOf(1, { isCalm: true, replicas: 2, hosts: 4 });

/** Runs a plan in which something happens after 40 seconds. */
function runWith(happen: (world: World) => void): Promise<RunResult> {
  return runPlan(PLAN, { prepare: (world) => void world.scheduler.after(40_000, () => happen(world)) });
}

function broken(): never {
  throw new TypeError("a field of undefined");
}

const THROWERS: Readonly<Record<string, (world: World) => void>> = {
  "an event throws": () => broken(),
  "a rejection is not handled": () => void Promise.resolve().then(broken),
  "a listener throws": () => {
    const aborter = new AbortController();
    aborter.signal.addEventListener("abort", broken);
    aborter.abort();
  },
  "a callback of the runtime throws": () => void setImmediate(broken),
};

for (const [what, happen] of Object.entries(THROWERS)) {
  Deno.test(`${what}: the seed fails, with its timeline`, async () => {
    const result = await runWith(happen);
    deepEqual(result.violations.map(({ kind }) => kind), ["fault"]);
    const text = failureOf({ result, kept: [], runs: 0, isMinimal: false });
    match(text, /a field of undefined/);
    match(text, /deno task explore --seed 1 /);
    match(text, /00:00:40\.000 VIOLATION: fault/);
  });
}

Deno.test("a world that cannot begin, and one whose time stands still, fail their seed", async () => {
  const early = await runPlan(PLAN, { prepare: broken });
  match(early.violations[0]!.message, /the run throws: TypeError/);
  const still = await runWith(({ scheduler }) => {
    const again = () => void scheduler.after(0, again);
    again();
  });
  match(still.violations[0]!.message, /time stands still/);
});

Deno.test("the timeline of a failure is about what the violation is about", async () => {
  const result = await runWith(({ observer }) => observer.violate("storm", "too much", "n1"));
  const shrunk = { result, kept: [], runs: 0, isMinimal: false };
  const lines = (isVerbose: boolean) =>
    failureOf(shrunk, { isVerbose }).split("\n").filter((line) => /^\d\d:/.test(line));
  const [part, whole] = [lines(false), lines(true)];
  ok(part.length > 3 && part.length < whole.length);
  equal(part.some((line) => /n2 Node|nodes\/n2/.test(line)), false);
  ok(part.some((line) => line.includes("n1: Node schedulable")) && part.some((line) => line.includes("is started")));
});

Deno.test("wrong flags end the exploration with 2, and too little time for the seeds with 1", async () => {
  const run = async (...args: string[]) => {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--quiet",
        "--no-check",
        "-P=development",
        new URL("explore.ts", import.meta.url).pathname,
        ...args,
      ],
    }).output();
    return { code, stderr: new TextDecoder().decode(stderr) };
  };
  equal((await run("--sed", "1")).code, 2);
  const { code, stderr } = await run("--seeds=2", "--minutes=0.0001");
  equal(code, 1);
  match(stderr, /only \d of 2 seeds ran/);
});
