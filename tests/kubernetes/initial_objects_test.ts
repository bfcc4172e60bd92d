import { deepEqual, equal } from "node:assert/strict";
import fc from "fast-check";
import { KubernetesError } from "../../src/kubernetes/errors.ts";
import { endsInitialEvents, InitialObjects, refusesInitialEvents } from "../../src/kubernetes/initial_objects.ts";
import { UnavailableError } from "../../src/lock/errors.ts";

Deno.test("the initial objects are those that the events leave, each by its namespace and name", () => {
  const event = fc.record({
    type: fc.constantFrom("ADDED" as const, "MODIFIED" as const, "DELETED" as const),
    namespace: fc.constantFrom(undefined, "x", "y"),
    name: fc.constantFrom("a", "b"),
  });
  fc.assert(fc.property(fc.array(event), (events) => {
    const initial = new InitialObjects((seen: { metadata: { resourceVersion: string } }) =>
      seen.metadata.resourceVersion
    );
    const model = new Map<string, string>();
    for (const [version, { type, namespace, name }] of events.entries()) {
      const resourceVersion = `${version}`;
      initial.take(type, { metadata: { name, namespace, resourceVersion } });
      const key = JSON.stringify([namespace, name]);
      if (type === "DELETED") model.delete(key);
      else model.set(key, resourceVersion);
    }
    deepEqual(initial.views, [...model.values()]);
  }));
});

for (
  const [annotations, expected] of [
    [{ "k8s.io/initial-events-end": "true" }, true],
    [{ "k8s.io/initial-events-end": "false" }, false],
    [{ other: "true" }, false],
    [undefined, false],
  ] as const
) {
  Deno.test(`a bookmark with the annotations ${JSON.stringify(annotations)} ${expected ? "ends" : "does not end"} the initial events`, () => {
    equal(endsInitialEvents({ metadata: { resourceVersion: "1", annotations } }), expected);
  });
}

for (
  const [error, expected] of [
    [new KubernetesError("unknown parameter", 400, "BadRequest"), true],
    [new KubernetesError("forbidden parameter", 422, "Invalid"), true],
    [new KubernetesError("too old", 410, "Expired"), false],
    [new UnavailableError("away", { cause: new KubernetesError("?", 422, "") }), false],
    [new TypeError("400"), false],
  ] as const
) {
  Deno.test(`initial events are ${expected ? "" : "not "}refused by ${error.name} "${error.message}"`, () => {
    equal(refusesInitialEvents(error), expected);
  });
}
