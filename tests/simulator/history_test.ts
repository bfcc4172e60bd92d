/**
 * The file format of histories.
 *
 * @module
 */

import { deepEqual, ok, throws } from "node:assert/strict";
import { formatOperation, type Operation, parseHistory } from "../../src/simulator/history.ts";
import { generateHistory } from "./generated_history.ts";

const OPERATION: Operation = {
  client: "a",
  group: "g",
  operation: "pre-reboot",
  invoked: 1,
  completed: 2,
  outcome: "granted",
  kind: "",
};

Deno.test("parseHistory reads what formatOperation wrote", () => {
  const history = generateHistory({ seed: 3, clients: 4, slots: 2, operations: 20, lost: 0.2 });
  ok(history.some((each) => each.completed === null));
  deepEqual(parseHistory(`\n${history.map(formatOperation).join("")}`), history);
});

Deno.test("parseHistory accepts times written as strings", () => {
  const line = JSON.stringify({ ...OPERATION, invoked: "1", completed: "2" });
  deepEqual(parseHistory(line), [OPERATION]);
});

for (
  const [name, wrong] of Object.entries({
    "a value that is not an object": null,
    "an unknown operation": { ...OPERATION, operation: "reboot" },
    "an unknown outcome": { ...OPERATION, outcome: "perhaps" },
    "a completion before the invocation": { ...OPERATION, completed: 0 },
    "an answer without a completion": { ...OPERATION, completed: null },
    "a fractional time": { ...OPERATION, invoked: 0.5 },
    "a negative time": { ...OPERATION, invoked: -1 },
    "a release by pre-reboot": { ...OPERATION, outcome: "released" },
    "a missing client": { ...OPERATION, client: undefined },
  })
) {
  Deno.test(`parseHistory gives the number of a line with ${name}`, () => {
    const text = `${formatOperation(OPERATION)}${JSON.stringify(wrong)}\n`;
    throws(() => parseHistory(text), (error) => error instanceof SyntaxError && /^Line 2 /.test(error.message));
  });
}

Deno.test("parseHistory gives the number of a line that is not JSON", () => {
  throws(() => parseHistory("{"), /^SyntaxError: Line 1 of the history is not JSON$/);
});
