/** The lint rules for the size of functions and files. @module */

import { deepEqual } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import size from "../../src/tasks/size.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** What the plugin reports about a file with this source. */
function lint(source: string, file = "src/lock/semaphore.ts"): string[] {
  return Deno.lint.runPlugin(size, root + file, source).map(({ id, message }) => `${id}: ${message.split(":")[0]}`);
}

/** So many lines. */
function linesOf(count: number): string {
  return "x();\n".repeat(count);
}

const FUNCTIONS: [kind: string, before: string, after: string][] = [
  ["function", "function f() {\n", "}\n"],
  ["asynchronous function", "async function f() {\n", "}\n"],
  ["arrow function", "const f = () => {\n", "};\n"],
  ["function expression", "const f = function () {\n", "};\n"],
  ["method", "class A {\n  f() {\n", "  }\n}\n"],
  ["private method", "class A {\n  #f() {\n", "  }\n}\n"],
  ["constructor", "class A {\n  constructor() {\n", "  }\n}\n"],
  ["getter", "class A {\n  get f() {\n", "  }\n}\n"],
];

for (const [kind, before, after] of FUNCTIONS) {
  Deno.test(`a function of 61 lines is reported, one of 60 is not: ${kind}`, () => {
    deepEqual(lint(before + linesOf(58) + after), []);
    deepEqual(lint(before + linesOf(59) + after), ["size/functions: This function has 61 lines"]);
  });
}

Deno.test("the lines of an inner function count for the outer one", () => {
  const inner = `  function g() {\n${linesOf(30)}  }\n`;
  deepEqual(lint(`function f() {\n${inner}${inner}}\n`), ["size/functions: This function has 66 lines"]);
});

Deno.test("a file of 331 lines is reported, one of 330 is not", () => {
  deepEqual(lint(linesOf(330)), []);
  deepEqual(lint(linesOf(331)), ["size/files: This file has 331 lines"]);
});

const REASON = " * Longer than 330 lines because the table is one thing.\n";

Deno.test("a file may be longer with a reason in its module comment", () => {
  deepEqual(lint(`/**\n * A table.\n *\n${REASON} *\n * @module\n */\n\n${linesOf(331)}`), []);
});

for (
  const [where, source] of [
    ["a later comment", `/** A table. @module */\n/**\n${REASON} */\n${linesOf(331)}`],
    ["an empty reason", `/**\n * Longer than 330 lines because\n */\n${linesOf(331)}`],
    ["the middle of a sentence", `/**\n * It is longer than 330 lines because of a table.\n */\n${linesOf(331)}`],
  ] as const
) {
  Deno.test(`a reason elsewhere does not count: ${where}`, () => {
    deepEqual(lint(source).length, 1);
  });
}

for (const file of ["tests/lock/semaphore_test.ts", "other.ts"]) {
  Deno.test(`${file} may be of any size`, () => {
    deepEqual(lint(`function f() {\n${linesOf(331)}}\n`, file), []);
  });
}
