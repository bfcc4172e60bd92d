import { deepEqual } from "node:assert/strict";
import { testsOf } from "../../src/tasks/test_choice.ts";

const SOURCES = new Map(Object.entries({
  "src/lock/a.ts": "",
  "src/lock/b.ts": 'import { a } from "./a.ts";\nimport {\n  c,\n} from "./c.ts";\n',
  "src/lock/c.ts": "",
  "src/lock/d.ts": "",
  "src/lock/unused.ts": "",
  "tests/support/helper.ts": 'import type { A } from "../../src/lock/a.ts";\n',
  "tests/lock/a_test.ts": 'import { a } from "../../src/lock/a.ts";\n',
  "tests/lock/b_test.ts": 'const { b } = await import("../../src/lock/b.ts");\n',
  "tests/http/other_test.ts": 'import { helper } from "../support/helper.ts";\n',
  "tests/lock/d_test.ts": "/** More is in b_test.ts, tests/http/other_test.ts and tests/cluster/a_test.ts. */\n" +
    'import { d } from "../../src/lock/d.ts"; // See a_test.ts.\n',
  "tests/cluster/a_test.ts": 'import { a } from "../../src/lock/a.ts";\n',
}));

for (
  const [file, tests] of [
    ["a", ["tests/http/other_test.ts", "tests/lock/a_test.ts"]],
    ["b", ["tests/lock/b_test.ts"]],
    // No test imports it, but the tests of b.ts run it.
    ["c", ["tests/lock/b_test.ts"]],
    // The first comment of its own test names the others. Those of tests/cluster need an API server.
    ["d", ["tests/http/other_test.ts", "tests/lock/b_test.ts", "tests/lock/d_test.ts"]],
    ["unused", []],
  ] as const
) {
  Deno.test(`the tests of ${file}.ts are those that import it or are named there, or else its importers' tests`, () => {
    deepEqual(testsOf(`src/lock/${file}.ts`, SOURCES), tests);
  });
}

Deno.test("the own tests of a file are those of its name and those named there, or all of them where there are none", () => {
  deepEqual(testsOf("src/lock/a.ts", SOURCES, true), ["tests/lock/a_test.ts"]);
  deepEqual(testsOf("src/lock/d.ts", SOURCES, true), testsOf("src/lock/d.ts", SOURCES));
  deepEqual(testsOf("src/lock/c.ts", SOURCES, true), ["tests/lock/b_test.ts"]);
});
