import fc from "fast-check";
import { deepEqual, equal } from "node:assert/strict";
import { contains, type Span, subtract, union } from "../../src/policies/spans.ts";

const spans = fc.array(
  fc.record({ from: fc.integer({ min: 0, max: 60 }), length: fc.integer({ min: 1, max: 20 }) }),
  { maxLength: 6 },
).map((all) => all.map(({ from, length }): Span => ({ from, to: from + length })));

const moments = Array.from({ length: 90 }, (_, at) => at - 5);
const isIn = (all: readonly Span[], moment: number) => all.some((span) => contains(span, moment));

Deno.test("the union has the same moments, in order, with gaps between its spans", () => {
  fc.assert(fc.property(spans, (all) => {
    const joined = union(all);
    for (const moment of moments) equal(isIn(joined, moment), isIn(all, moment));
    for (let at = 1; at < joined.length; at++) equal(joined[at - 1]!.to < joined[at]!.from, true);
  }));
});

Deno.test("a difference has the moments that only the span has", () => {
  fc.assert(fc.property(spans, spans, ([span], others) => {
    if (span === undefined) return;
    const left = subtract(span, others);
    for (const moment of moments) equal(isIn(left, moment), contains(span, moment) && !isIn(others, moment));
  }));
});

Deno.test("spans without a beginning or an end can be joined and cut", () => {
  const always = { from: -Infinity, to: Infinity };
  deepEqual(subtract(always, [{ from: 3, to: 5 }]), [{ from: -Infinity, to: 3 }, { from: 5, to: Infinity }]);
  deepEqual(union([{ from: 0, to: 1 }, always]), [always]);
});
