import { deepEqual } from "node:assert/strict";
import fc from "fast-check";
import { NamesById } from "../../../src/keeper/nodes/names_by_id.ts";

Deno.test("it has the names that were added and not deleted, as a set for each id would", () => {
  const step = fc.record({
    action: fc.constantFrom("add" as const, "delete" as const),
    id: fc.constantFrom("1", "2"),
    name: fc.constantFrom("worker-1", "worker-2", "worker-3"),
  });
  fc.assert(fc.property(fc.array(step), (steps) => {
    const names = new NamesById();
    const model = new Map([["1", new Set<string>()], ["2", new Set<string>()]]);
    for (const { action, id, name } of steps) {
      names[action](id, name);
      model.get(id)![action](name);
      for (const [each, expected] of model) deepEqual(names.get(each).sort(), [...expected].sort());
    }
  }));
});
