/** The mutants fit the sources. Whether each is found takes minutes: `deno task mutants`. @module */

import { equal, ok } from "node:assert/strict";
import { MUTANTS } from "./mutants.ts";

Deno.test("there are at least twenty mutants, each with a name of its own", () => {
  ok(MUTANTS.length >= 20);
  equal(new Set(MUTANTS.map(({ name }) => name)).size, MUTANTS.length);
});

for (const { name, file, find, replace } of MUTANTS) {
  Deno.test(`the text of the mutant "${name}" is in its file exactly once`, async () => {
    const source = await Deno.readTextFile(new URL(`../../../${file}`, import.meta.url));
    equal(source.split(find).length - 1, 1);
    ok(find !== replace);
  });
}
