/**
 * The checker accepts the histories that a semaphore can produce, and finds a violation in others.
 *
 * @module
 */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import fc from "fast-check";
import { checkHistory } from "../../src/simulator/checker.ts";
import type { Operation } from "../../src/simulator/history.ts";
import { findLinearization } from "../../src/simulator/linearizability.ts";
import { Random } from "../../src/simulator/random.ts";
import { generateHistory } from "./generated_history.ts";

const MS = 1e-6;

/** One operation of group "g" in a line: `c1 pre-reboot 10-20 granted`. An end of `?` is unknown. */
function operation(line: string): Operation {
  const [client, name, span, outcome, kind = ""] = line.trim().split(/\s+/);
  const [invoked, completed] = span!.split("-");
  return {
    client: client!,
    group: "g",
    operation: name as Operation["operation"],
    invoked: Number(invoked),
    completed: completed === "?" ? null : Number(completed),
    outcome: outcome as Operation["outcome"],
    kind,
  };
}

function history(text: string): Operation[] {
  return text.trim().split("\n").map(operation);
}

const EXAMPLES: {
  name: string;
  history: string;
  slots?: number;
  lateNs?: number;
  windowNs?: number;
  found?: string;
}[] = [
  {
    name: "two holds, one after the other",
    history: `a pre-reboot 0-10 granted
                a steady-state 20-30 released
                b pre-reboot 25-35 granted`,
  },
  {
    name: "two holds at the same time",
    history: `a pre-reboot 0-10 granted
                b pre-reboot 12-14 granted`,
    found: "exclusion",
  },
  {
    name: "two holds at the same time with two slots",
    slots: 2,
    history: `a pre-reboot 0-10 granted
                b pre-reboot 12-14 granted`,
  },
  {
    name: "a grant completes after the other client sent its release",
    history: `a pre-reboot 0-10 granted
                b pre-reboot 5-21 granted
                a steady-state 20-30 released`,
  },
  {
    name: "a grant completes just before the other client sends its release",
    history: `a pre-reboot 0-10 granted
                b pre-reboot 5-19 granted
                a steady-state 20-30 released`,
    found: "exclusion",
  },
  {
    name: "a refused release frees nothing",
    history: `a pre-reboot 0-10 granted
                a steady-state 20-30 refused node_not_ready
                b pre-reboot 40-50 granted`,
    found: "exclusion",
  },
  {
    name: "a release that did not reach a server frees nothing",
    history: `a pre-reboot 0-10 granted
                a steady-state 20-30 error unreachable
                b pre-reboot 40-50 granted`,
    found: "exclusion",
  },
  {
    name: "a release that failed may have freed the slot",
    history: `a pre-reboot 0-10 granted
                a steady-state 20-30 error store_unavailable
                b pre-reboot 40-50 granted`,
  },
  {
    name: "a lost release may free a later hold",
    history: `a steady-state 0-? unknown timeout
                a steady-state 20-30 released
                a pre-reboot 40-50 granted
                b pre-reboot 60-70 granted`,
    found: "late overlap",
  },
  {
    name: "a lost release frees no hold granted after it has ended",
    lateNs: 30,
    history: `a steady-state 0-? unknown timeout
                a steady-state 20-30 released
                a pre-reboot 40-50 granted
                b pre-reboot 60-70 granted`,
    found: "exclusion",
  },
  {
    name: "a lost request may hold the slot",
    history: `a pre-reboot 0-? unknown timeout
                b pre-reboot 60-70 refused lock_held`,
  },
  {
    name: "a refusal before the first hold",
    history: `b pre-reboot 60-70 refused lock_held
                a pre-reboot 80-90 granted`,
    found: "refusal",
  },
  {
    name: "a refusal of the only holder",
    history: `a pre-reboot 0-10 granted
                a pre-reboot 20-30 refused lock_held`,
    found: "refusal",
  },
  {
    name: "a refusal based on a state that is too old",
    windowNs: 20,
    history: `a pre-reboot 0-10 granted
                a steady-state 20-30 released
                b pre-reboot 60-70 refused lock_held`,
    found: "refusal",
  },
  {
    name: "a refusal based on a state that is old",
    windowNs: 30,
    history: `a pre-reboot 0-10 granted
                a steady-state 20-30 released
                b pre-reboot 60-70 refused lock_held`,
  },
  {
    name: "a refusal during a hold that another client began while the refused one held a slot",
    slots: 2,
    windowNs: 5,
    history: `a pre-reboot 0-10 granted
                b pre-reboot 11-12 granted
                b steady-state 13-14 released
                d pre-reboot 15-16 granted
                b pre-reboot 30-40 refused lock_held`,
  },
  {
    name: "two refusals, each of which needs the other client to hold the slot",
    history: `a pre-reboot 0-? unknown timeout
                b pre-reboot 0-? unknown timeout
                a pre-reboot 200-210 refused lock_held
                b pre-reboot 220-230 refused lock_held`,
    lateNs: 100,
    windowNs: 0,
    found: "order",
  },
];

for (const example of EXAMPLES) {
  const { name, slots = 1, lateNs = Infinity, windowNs = 0, found = "nothing" } = example;
  Deno.test(`checkHistory: ${name}: ${found}`, () => {
    const result = checkHistory(history(example.history), {
      slots,
      lateMs: lateNs * MS,
      refusalWindowMs: windowNs * MS,
    });
    const kinds = result.violations.map((each) => each.kind);
    deepEqual(kinds, found === "nothing" || found === "late overlap" ? [] : [found]);
    equal(result.violationCount, kinds.length);
    equal(result.lateOverlaps.length, found === "late overlap" ? 1 : 0);
  });
}

Deno.test("checkHistory names the clients of an overlap and its operations", () => {
  const operations = history("a pre-reboot 0-10 granted\nb pre-reboot 12-14 granted");
  const [violation] = checkHistory(operations, { slots: 1 }).violations;
  deepEqual(violation!.operations, operations);
  match(violation!.message, /2 clients held a slot at the same time, and the limit is 1: a got granted .*; b got/);
});

Deno.test("checkHistory keeps groups apart", () => {
  const [first, second] = history("a pre-reboot 0-10 granted\nb pre-reboot 12-14 granted");
  const result = checkHistory([first!, { ...second!, group: "h" }], { slots: 1 });
  equal(result.violationCount, 0);
  equal(result.searched, 2);
});

Deno.test("checkHistory counts the turns of each client and measures its waits", () => {
  const result = checkHistory(
    history(`a pre-reboot 0-10 granted
             b pre-reboot 5-15 refused lock_held
             a pre-reboot 16-18 granted
             a steady-state 20-30 released
             b pre-reboot 1000000-2000005 granted
             c pre-reboot 1500000-2500000 refused lock_held
             c pre-reboot 2600000-3500000 refused lock_held`),
    { slots: 1 },
  );
  deepEqual(result.turns, [
    { client: "a", group: "g", grants: 1, releases: 1, longestWaitMs: 0.00001, waitingMs: undefined },
    { client: "b", group: "g", grants: 1, releases: 0, longestWaitMs: 2, waitingMs: undefined },
    { client: "c", group: "g", grants: 0, releases: 0, longestWaitMs: undefined, waitingMs: 2 },
  ]);
});

const shapes = fc.record({
  seed: fc.integer({ min: 0 }),
  clients: fc.integer({ min: 1, max: 6 }),
  slots: fc.integer({ min: 1, max: 3 }),
  operations: fc.integer({ min: 1, max: 12 }),
  staleNs: fc.constantFrom(0, 0, 300),
});

Deno.test("checkHistory accepts every history of a semaphore", () => {
  fc.assert(
    fc.property(shapes, (shape) => {
      const result = checkHistory(generateHistory(shape), {
        slots: shape.slots,
        lateMs: 0,
        refusalWindowMs: shape.staleNs * MS,
      });
      deepEqual(result.violations, []);
      equal(result.lateOverlaps.length, 0);
    }),
    { numRuns: 500 },
  );
});

Deno.test("checkHistory accepts every history of a semaphore whose clients give up requests", () => {
  fc.assert(
    fc.property(shapes, fc.constantFrom(150, 1_000), (shape, lateNs) => {
      const result = checkHistory(generateHistory({ ...shape, lost: 0.2, lateNs }), {
        slots: shape.slots,
        lateMs: lateNs * MS,
        refusalWindowMs: shape.staleNs * MS,
        maxSearched: 40,
      });
      deepEqual(result.violations, []);
    }),
    { numRuns: 500 },
  );
});

Deno.test("checkHistory finds a grant that was added while all slots were taken", () => {
  fc.assert(
    fc.property(shapes, fc.nat(), (shape, choice) => {
      const operations = generateHistory(shape);
      const full = fullMoments(operations, shape.slots);
      fc.pre(full.length > 0);
      const at = full[choice % full.length]!;
      operations.push(operation(`intruder pre-reboot ${at - 1}-${at} granted`));
      const options = { slots: shape.slots, lateMs: 0, refusalWindowMs: shape.staleNs * MS };
      ok(checkHistory(operations, options).violations.some((each) => each.kind === "exclusion"));
      equal(
        findLinearization(operations, { slots: shape.slots, lateNs: 0, refusalWindowNs: 300 }).kind,
        "violation",
      );
    }),
    { numRuns: 300 },
  );
});

Deno.test("the test for overlaps and the search for an order find the same violations", () => {
  let violations = 0;
  fc.assert(
    fc.property(shapes, fc.double({ min: 0.2, max: 1, noNaN: true }), (shape, falsified) => {
      const random = new Random(shape.seed);
      const operations = generateHistory(shape).flatMap((each): Operation[] => {
        if (each.outcome !== "refused") return [each];
        // Without the refusals, which checkHistory tests apart from the grants.
        return random.chance(falsified) ? [{ ...each, outcome: "granted", kind: "" }] : [];
      });
      const swept = checkHistory(operations, { slots: shape.slots, maxSearched: 0 });
      const searched = findLinearization(operations, { slots: shape.slots });
      equal(searched.kind, swept.violationCount > 0 ? "violation" : "linearizable");
      violations += Number(swept.violationCount > 0);
    }),
    { numRuns: 500 },
  );
  ok(violations > 50, `only ${violations} histories had a violation`);
});

Deno.test("checkHistory finds that a semaphore has too many slots", () => {
  const operations = generateHistory({ seed: 1, clients: 8, slots: 3, operations: 50 });
  const result = checkHistory(operations, { slots: 2, maxSearched: 0 });
  ok(result.violations.some((each) => each.kind === "exclusion"));
});

Deno.test("checkHistory checks a history of 100,000 operations", () => {
  const operations = generateHistory({ seed: 7, clients: 100, slots: 2, operations: 1_000, lost: 0.01, staleNs: 500 });
  equal(operations.length, 100_000);
  const result = checkHistory(operations, { slots: 2, lateMs: 1_000 * MS, refusalWindowMs: 500 * MS });
  deepEqual(result.violations, []);
  equal(result.notSearched, 1);
  const last = operations.findLast((each) => each.outcome === "granted")!;
  const intruders = ["x", "y", "z"].map((client) =>
    operation(`${client} pre-reboot ${last.completed}-${last.completed! + 1} granted`)
  );
  const broken = checkHistory([...operations, ...intruders], { slots: 2, lateMs: 1_000 * MS });
  equal(broken.violations[0]!.kind, "exclusion");
});

Deno.test("findLinearization takes few states where many hosts start at the same time", () => {
  const names = Array.from({ length: 100 }, (_, index) => `c${index}`);
  const operations = [
    ...names.map((name, index) => operation(`${name} steady-state ${index}-${1_000 + index} released`)),
    operation("c1 pre-reboot 2000-2010 granted"),
    ...names.slice(2).map((name, index) => operation(`${name} pre-reboot ${2_020 + index}-2500 refused lock_held`)),
    operation("c1 pre-reboot 2100-2110 granted"),
    operation("c1 steady-state 2600-2610 released"),
  ];
  equal(findLinearization(operations, { slots: 1, maxStates: 1_000 }).kind, "linearizable");
});

/** A group whose search takes some 8,000 states: 12 lost requests, any 6 of which may have been granted. */
function hardHistory(group: string): Operation[] {
  const lost = Array.from({ length: 12 }, (_, index) => operation(`c${index} pre-reboot ${index}-? unknown timeout`));
  return [...lost, operation("x pre-reboot 200-300 refused lock_held")].map((each) => ({ ...each, group }));
}

Deno.test("the searches of all groups share one number of states, so that many hard groups take no longer than few", () => {
  for (
    const { groups, searched } of [{ groups: 1, searched: 1 }, { groups: 3, searched: 3 }, { groups: 50, searched: 0 }]
  ) {
    const operations = Array.from({ length: groups }, (_, index) => hardHistory(`g${index}`)).flat();
    const result = checkHistory(operations, { slots: 6 });
    deepEqual([result.searched, result.notSearched], [searched, groups - searched]);
    deepEqual(result.violations, []);
  }
});

Deno.test("checkHistory says how far it is", () => {
  const [first, second] = history("a pre-reboot 0-10 granted\nb pre-reboot 12-14 granted");
  const shown: [number, number][] = [];
  checkHistory([first!, { ...second!, group: "h" }], { slots: 1, onProgress: (...each) => shown.push(each) });
  deepEqual(shown, [[0, 2], [1, 2]]);
});

/** The times after which all slots are certainly taken for at least 2 ns. */
function fullMoments(operations: readonly Operation[], slots: number): number[] {
  const events = operations.flatMap((each) => {
    if (each.outcome === "released") return [{ at: each.invoked, client: each.client, holds: false }];
    return each.outcome === "granted" ? [{ at: each.completed!, client: each.client, holds: true }] : [];
  }).sort((a, b) => a.at - b.at || Number(a.holds) - Number(b.holds));
  const holders = new Set<string>();
  return events.flatMap(({ at, client, holds }, index) => {
    if (holds) holders.add(client);
    else holders.delete(client);
    const next = events[index + 1]?.at ?? Infinity;
    return holders.size >= slots && next > at + 2 ? [at + 2] : [];
  });
}
