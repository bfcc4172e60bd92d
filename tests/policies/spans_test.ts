import fc from "fast-check";
import { deepEqual, equal } from "node:assert/strict";
import { ALWAYS, contains, intersect, type Span, subtract, union } from "../../src/policies/spans.ts";

const spans = fc.array(
  // Some are empty, or end before they begin.
  fc.record({ from: fc.integer({ min: 0, max: 60 }), length: fc.integer({ min: -3, max: 20 }) }),
  { maxLength: 6 },
).map((all) => all.map(({ from, length }): Span => ({ from, to: from + length })));

const moments = Array.from({ length: 90 }, (_, at) => at - 5);
const isIn = (all: readonly Span[], moment: number) => all.some((span) => contains(span, moment));

/** Checks that spans are not empty, in order, and at least some distance apart. */
function checkOrder(spans: readonly Span[], distance: number): void {
  spans.forEach(({ from, to }, at) => {
    equal(from < to, true, "a span is empty");
    if (at > 0) equal(from - spans[at - 1]!.to >= distance, true);
  });
}

Deno.test("a span has its first moment and not the one after its last", () => {
  const span = { from: 3, to: 5 };
  deepEqual([2, 3, 4, 5].map((moment) => contains(span, moment)), [false, true, true, false]);
  deepEqual([-Infinity, 0, Number.MAX_VALUE].map((moment) => contains(ALWAYS, moment)), [true, true, true]);
  deepEqual(ALWAYS, { from: -Infinity, to: Infinity });
});

Deno.test("the union has the same moments, in order, with gaps between its spans", () => {
  fc.assert(fc.property(spans, (all) => {
    const joined = union(all);
    for (const moment of moments) equal(isIn(joined, moment), isIn(all, moment));
    checkOrder(joined, 1);
  }));
});

Deno.test("a difference has the moments that only the span has", () => {
  fc.assert(fc.property(spans, spans, ([span], others) => {
    if (span === undefined) return;
    const left = subtract(span, others);
    for (const moment of moments) equal(isIn(left, moment), contains(span, moment) && !isIn(others, moment));
    checkOrder(left, 1);
  }));
});

Deno.test("an intersection has the moments that the span shares with the others", () => {
  fc.assert(fc.property(spans, spans, ([span], others) => {
    if (span === undefined) return;
    const shared = intersect(span, others);
    for (const moment of moments) equal(isIn(shared, moment), contains(span, moment) && isIn(others, moment));
    checkOrder(shared, 1);
  }));
});

Deno.test("spans without a beginning or an end can be joined and cut", () => {
  const always = { from: -Infinity, to: Infinity };
  deepEqual(subtract(always, [{ from: 3, to: 5 }]), [{ from: -Infinity, to: 3 }, { from: 5, to: Infinity }]);
  deepEqual(union([{ from: 0, to: 1 }, always]), [always]);
});
