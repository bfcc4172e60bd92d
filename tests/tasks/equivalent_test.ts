/** The list of the mutants that no test can notice fits the sources. @module */

import { deepEqual, ok } from "node:assert/strict";
import list from "../mutation/equivalent.json" with { type: "json" };

const root = new URL("../../", import.meta.url);

Deno.test("each mutant that is named as equivalent is about code that is in the sources", () => {
  const sources = new Map<string, string[]>();
  const linesOf = (file: string) => {
    const lines = sources.get(file) ??
      Deno.readTextFileSync(new URL(file, root)).split("\n").map((line) => line.trim());
    sources.set(file, lines);
    return lines;
  };
  const isStale = ({ file, line, code }: typeof list[number]) =>
    !linesOf(file).includes(line) || !line.includes(code.replace(/ …$/, "").trim());
  deepEqual(list.filter(isStale), []);
});

Deno.test("each mutant that is named as equivalent is named once, with a reason", () => {
  const keys = list.map(({ reason: _, ...mutation }) => JSON.stringify(mutation));
  deepEqual(keys.filter((key, index) => keys.indexOf(key) !== index), []);
  for (const { reason } of list) ok(/^[A-Z].*\.$/.test(reason), reason);
});
