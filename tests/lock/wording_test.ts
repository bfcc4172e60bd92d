import { deepEqual } from "node:assert/strict";
import { describeDuration } from "../../src/lock/wording.ts";

Deno.test("a duration is rounded down to one unit, and a negative one is 0", () => {
  const told = [-5_000, 0, 59_999, 60_000, 3_599_000, 3_600_000, 47 * 3_600_000, 48 * 3_600_000].map(describeDuration);
  deepEqual(told, ["0 s", "0 s", "59 s", "1 min", "59 min", "1 h", "47 h", "2 d"]);
});
