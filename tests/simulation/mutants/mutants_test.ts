/** The mutants fit the sources. Whether each is found takes minutes: `deno task mutants`. @module */

import { equal, ok } from "node:assert/strict";
import { MUTANTS } from "./mutants.ts";

Deno.test("there are at least twenty mutants, each with a name of its own", () => {
  ok(MUTANTS.length >= 20);
  equal(new Set(MUTANTS.map(({ name }) => name)).size, MUTANTS.length);
});

for (const mutant of MUTANTS) {
  Deno.test(`the text of the mutant "${mutant.name}" is in its file exactly once`, async () => {
    for (const { file, find, replace } of [mutant, ...mutant.also ?? []]) {
      const source = await Deno.readTextFile(new URL(`../../../${file}`, import.meta.url));
      equal(source.split(find).length - 1, 1);
      ok(find !== replace);
    }
  });
}

Deno.test("each mutant names what must show it, and a schedule", () => {
  for (const { expects, schedules } of MUTANTS) ok(expects !== "" && schedules.length > 0);
});
