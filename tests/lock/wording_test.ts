import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { describeDuration, printable, printableId, UNPRINTABLE } from "../../src/lock/wording.ts";

Deno.test("a duration is rounded down to one unit, and a negative one is 0", () => {
  const told = [-5_000, 0, 59_999, 60_000, 3_599_000, 3_600_000, 47 * 3_600_000, 48 * 3_600_000].map(describeDuration);
  deepEqual(told, ["0 s", "0 s", "59 s", "1 min", "59 min", "1 h", "47 h", "2 d"]);
});

const MISLEADING: [what: string, char: string][] = [
  ["a line break", "\n"],
  ["a carriage return", "\r"],
  ["the escape character", "\x1b"],
  ["DEL", "\x7f"],
  ["a control character beyond ASCII", "\x9b"],
  ["a mark that turns text around", "\u202e"],
  ["the end of such a mark", "\u202c"],
  ["an isolate", "\u2067"],
  ["a left-to-right mark", "\u200e"],
  ["an Arabic letter mark", "\u061c"],
  ["a line separator", "\u2028"],
  ["half a character", "\ud83d"],
];

for (const [what, char] of MISLEADING) {
  Deno.test(`${what} is replaced where text is shown`, () => equal(printable(`a${char}b`, 9), "a\ufffdb"));
}

Deno.test("text is shown as it is where it is short and harmless, and cut off where it is long", () => {
  for (const text of ["", "worker-1", "größer ✓ 😀", "978a225b3d7b40e9acd7ce9b62f68444"]) {
    equal(printable(text, 64), text);
  }
  deepEqual([printable("abc", 3), printable("abcd", 3)], ["abc", "abc…"]);
  equal(printableId("x".repeat(10_000)), `${"x".repeat(64)}…`);
});

Deno.test("what is shown is bounded and holds no misleading character, whatever the text", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), fc.nat(20), (text, max) => {
    const shown = printable(text, max);
    ok(shown.length <= max + 1 && shown.isWellFormed() && shown.search(UNPRINTABLE) < 0);
  }));
});
